"""The parts of a run, put together: provider, prices, budget, limits, in the order of providers/wrap.py."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from llmbatch import ledger as ledgers
from llmbatch import providers
from llmbatch.budget import Budget
from llmbatch.errors import UsageError
from llmbatch.halt import Halt
from llmbatch.ledger import Ledger, Run
from llmbatch.limits import Gate, RetryBudget
from llmbatch.pipeline import Pipeline
from llmbatch.prices import PriceTable, provider_of
from llmbatch.providers import wrap
from llmbatch.providers.access import is_this_machine
from llmbatch.savings import savings
from llmbatch.tally import Tally
from llmbatch.types import Attempt, Provider, Request, Usage

_FRAME_BYTES = 256  #: of a request beside its texts and schema, as a bound on what they can cost in tokens


@dataclass(frozen=True, slots=True)
class Wired:
    """What a run works with; ``wrapped`` completes it once the ledger is open."""

    pipeline: Pipeline
    tally: Tally
    halt: Halt
    raw: Provider
    prices: PriceTable
    gate: Gate
    tail: wrap.Tail = field(default_factory=wrap.Tail)
    heard: list[Callable[[Attempt], None]] = field(default_factory=list)  #: who hears of attempts beside the tally

    @property
    def rehearsal(self) -> bool:
        """Whether the simulator may be what answers: it runs on this machine."""
        address = providers.address(self.pipeline.settings)
        return address is not None and is_this_machine(address)

    def in_flight(self) -> int:
        """Calls in flight now."""
        return self.gate.in_flight

    @property
    def structured_output(self) -> str | None:
        """How the provider was asked for JSON, as far as it says."""
        return getattr(self.raw, "structured_output", None)

    async def wrapped(self, ledger: Ledger, run: Run) -> tuple[Provider, wrap.Timed]:
        """The provider inside its wrappers."""
        spent, _ = await ledger.ask(lambda con: ledgers.spent(con, run.resumes))
        budget = self._budget(spent)
        self.halt.listen(self.gate.close)
        if budget is not None:
            self.halt.listen(budget.close)

        async def record(attempt: Attempt, request: Request) -> int:
            self.tally.attempted(attempt)
            for hear in self.heard:
                hear(attempt)
            first = request if request.attempts_used == 0 and attempt.outcome != "rate_limited" else None
            return await ledger.record(run.run_no, attempt, first, self.pipeline.version)

        parts = wrap.Parts(
            limits=self.pipeline.settings.limits,
            gate=self.gate,
            retries=RetryBudget(),
            budget=budget,
            halt=self.halt,
            record=record,
            cost=self._cost,
            tail=self.tail,
            note=self.tally.noted,
        )
        return wrap.build(self.raw, parts)

    def _cost(self, usage: Usage | None, model: str | None, tier: str | None) -> Decimal | None:
        return self.prices.cost(usage, model, tier, asked=self.pipeline.settings.request.model)

    def _budget(self, spent: Decimal) -> Budget | None:
        cap = self.pipeline.settings.limits.budget_usd
        if cap is None:
            return None
        return Budget(
            cap,
            worst_case=worst_case(self.pipeline, self.prices),
            cost_of=lambda reply: self._cost(reply.usage, reply.model, reply.tier),
            spent=spent,
        )


def wire(pipeline: Pipeline, tally: Tally, halt: Halt, on_change: Callable[[str], None] | None) -> Wired:
    """Build what a run needs. Raises UsageError for a missing key, and for a budget that cannot be kept."""
    settings = pipeline.settings
    offline = settings.provider.kind == "offline"
    prices = PriceTable(settings.prices, None if offline else provider_of(providers.address(settings)))
    if settings.limits.budget_usd is not None:
        worst_case(pipeline, prices)  # raises now rather than at the first call
    tally.saved_by = savings(prices, settings.request.model)
    raw = providers.make(settings, tally.noted)
    gate = Gate(settings.limits, on_change=on_change)
    return Wired(pipeline, tally, halt, raw, prices, gate)


def worst_case(pipeline: Pipeline, prices: PriceTable) -> Callable[[Request], Decimal]:
    """What a call can cost at most: every UTF-8 byte a token, and all output tokens that it may make.

    Byte-level and byte-fallback vocabularies never make more tokens than the text has bytes.
    """
    settings = pipeline.settings
    model = settings.request.model
    params: Any = settings.request.params
    output = params.get("max_completion_tokens") or params.get("max_tokens")
    if not output:
        raise UsageError(
            "a budget needs a bound on the answer",
            hint="set max_completion_tokens in [request] params of pipeline.toml",
        )
    tier = params.get("service_tier") if settings.limits.tier == "standard" else settings.limits.tier
    if prices.worst_case(1, output, model, tier) is None:
        at = "" if tier is None else f" at tier {tier}"
        raise UsageError(
            f"a budget needs a price, and none is known for {model!r}{at}",
            hint=f"add [prices.{model!r}] with input and output to pipeline.toml, in dollars per million tokens",
        )
    frame = _FRAME_BYTES + 2 * len(repr(pipeline.schema).encode())

    def bound(request: Request) -> Decimal:
        texts = sum(len(m["content"].encode()) + 16 for m in (*request.messages, *request.turns))
        dollars = prices.worst_case(texts + frame, output, model, tier)
        assert dollars is not None
        return dollars

    return bound
