"""The parts of a run, put together: provider, prices, limits, budget, in the order of providers/wrap.py."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from decimal import Decimal

from llmbatch import providers
from llmbatch.budget import Budget, Caps, HourMeter
from llmbatch.cli.crew import Crew
from llmbatch.cli.foresight import Foreseen, Foresight, foresee
from llmbatch.cli.spending import WorstCase, caps_of, drawing, has_caps, refuse_unbounded
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


@dataclass(slots=True)
class Wired:
    """What a run works with; ``wrapped`` completes it once the ledger is open."""

    pipeline: Pipeline
    tally: Tally
    halt: Halt
    raw: Provider
    prices: PriceTable
    gate: Gate
    worst_case: WorstCase
    tail: wrap.Tail = field(default_factory=wrap.Tail)
    heard: list[Callable[[Attempt], None]] = field(default_factory=list)  #: who hears of attempts beside the tally
    crew: Crew | None = None  #: makes the calls in this process's stead
    foresight: Foresight | None = None  #: once the ledger is open
    _meter: HourMeter | None = None
    _caps: Caps | None = None

    @property
    def rehearsal(self) -> bool:
        """Whether the simulator may be what answers."""
        return is_rehearsal(self.pipeline)

    def in_flight(self) -> int:
        """Calls in flight now."""
        return self.gate.in_flight

    @property
    def structured_output(self) -> str | None:
        """How the provider was asked for JSON, as far as it says."""
        return getattr(self.raw, "structured_output", None)

    async def wrapped(self, ledger: Ledger, run: Run) -> tuple[Provider, wrap.Cutter]:
        """The provider inside its wrappers."""
        caps = await self.caps(ledger, run)
        self._meter = self._by_hour(caps)
        budget = self._budget(caps, ledger, run)
        self.halt.listen(self.gate.close)
        if budget is not None:
            self.halt.listen(budget.close)

        async def record(attempt: Attempt, request: Request) -> int:
            if attempt.possibly_paid:
                attempt = replace(attempt, worst_usd=self.worst_case(request))
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
            cost=self.cost,
            tail=self.tail,
            note=self.tally.noted,
            meter=self._meter,
        )
        wrapped, timed = await self._stacked(parts)
        self.foresight = await ledger.ask(
            lambda con: foresee(con, self.pipeline, self.prices, self.worst_case, rehearsal=self.rehearsal)
        )
        return Foreseen(wrapped, self.foresight.sizes), timed

    async def _stacked(self, parts: wrap.Parts) -> tuple[Provider, wrap.Cutter]:
        if self.crew is None:
            return wrap.build(self.raw, parts)
        await self.raw.close()
        self.raw = fleet = self.crew.fleet(self.pipeline.settings, parts)
        self.tail = fleet.tail
        return fleet, fleet

    def cost(self, usage: Usage | None, model: str | None, tier: str | None) -> Decimal | None:
        """Dollars of an answer; None when unknown."""
        if self._meter is not None:
            return self._meter.charge()
        return self.prices.cost(usage, model, tier, asked=self.pipeline.settings.request.model)

    async def caps(self, ledger: Ledger, run: Run) -> Caps | None:
        """What the run may spend; the same at every call, so that batches and live calls spend of one purse."""
        if self._caps is None and has_caps(self.pipeline.settings):
            settings = self.pipeline.settings
            self._caps = await ledger.ask(lambda con: caps_of(con, settings, run, self.worst_case, time.time))
        return self._caps

    def _by_hour(self, caps: Caps | None) -> HourMeter | None:
        settings = self.pipeline.settings
        rate = self.prices.usd_per_hour(settings.request.model)
        return None if rate is None else HourMeter(rate, caps, longest_s=settings.limits.attempt_s)

    def _budget(self, caps: Caps | None, ledger: Ledger, run: Run) -> Budget | None:
        if caps is None or self._meter is not None:
            return None

        def worst_case(request: Request) -> Decimal:
            dollars = self.worst_case(request)
            assert dollars is not None  # refuse_unbounded
            return dollars

        return Budget(
            caps,
            worst_case=worst_case,
            cost_of=lambda reply: self.cost(reply.usage, reply.model, reply.tier),
            store=drawing(ledger, run),
        )


def is_rehearsal(pipeline: Pipeline) -> bool:
    """Whether the simulator may be what answers: it runs on this machine."""
    address = providers.address(pipeline.settings)
    return address is not None and is_this_machine(address)


def prices_of(pipeline: Pipeline) -> PriceTable:
    """The prices that hold where the pipeline sends."""
    settings = pipeline.settings
    asks_nobody = settings.provider.kind == "offline"
    provider_id = None if asks_nobody else provider_of(providers.address(settings))
    return PriceTable(settings.prices, provider_id, origin=pipeline.prices_from)


def wire(
    pipeline: Pipeline,
    tally: Tally,
    halt: Halt,
    on_change: Callable[[str], None] | None,
    crew: Crew | None = None,
) -> Wired:
    """Build what a run needs. Raises UsageError for a missing key, and for a budget that cannot be kept."""
    settings = pipeline.settings
    prices = prices_of(pipeline)
    worst_case = WorstCase(pipeline, prices)
    refuse_unbounded(settings, worst_case, prices)
    if settings.limits.tier == "batch":
        refuse_unbounded(settings, WorstCase(pipeline, prices, tier="batch"), prices)
    tally.saved_by = savings(prices, settings.request.model)
    raw = providers.make(settings, tally.noted)
    gate = Gate(settings.limits, on_change=on_change)
    return Wired(pipeline, tally, halt, raw, prices, gate, worst_case, crew=crew)
