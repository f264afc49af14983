"""What a run may spend: its caps, what already counts against them, and what one call can cost."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from itertools import count
from typing import Any

import duckdb
import orjson

from llmbatch import ledger as ledgers
from llmbatch.budget import Cap, Caps, day_of, month_of
from llmbatch.errors import UsageError
from llmbatch.ledger import Ledger, Run
from llmbatch.pipeline import Pipeline
from llmbatch.prices import PriceTable
from llmbatch.settings import Settings
from llmbatch.types import Request

_FRAME_BYTES = 256  #: of a request beside its texts, schema and parameters, as a bound on what they can cost in tokens
_REASK_BYTES = (
    32_000  #: that a re-ask adds to a stored request, at most: an answer cut to 4,000 characters, its problems
)


class WorstCase:
    """What a call can cost at most, in dollars: every UTF-8 byte a token, and all output tokens that it may make.

    At the tier that live calls ask for, unless another one is named. Byte-level and byte-fallback vocabularies never
    make more tokens than the text has bytes. None when the price or
    the bound on the output is unknown.
    """

    def __init__(self, pipeline: Pipeline, prices: PriceTable, *, tier: str | None = None) -> None:
        settings = pipeline.settings
        params: Any = settings.request.params
        bounds = [n for name in ("max_completion_tokens", "max_tokens") if type(n := params.get(name)) is int and n > 0]
        answers = params.get("n") or 1
        self.output = max(bounds) * answers if bounds and type(answers) is int else None
        if settings.provider.kind == "embeddings":
            self.output = 0
        self.tier = tier or ("flex" if settings.limits.tier == "flex" else params.get("service_tier"))
        self._models = settings.request.models
        self._prices = prices
        # the schema may be sent twice: as such, and in words
        self._frame = _FRAME_BYTES + 2 * len(repr(pipeline.schema).encode()) + len(orjson.dumps(params))
        self._system = len((settings.request.system or "").encode())

    def __call__(self, request: Request) -> Decimal | None:
        """For a call that is about to be made."""
        text_bytes = sum(len(m["content"].encode()) + 16 for m in (*request.messages, *request.turns))
        return self._of(text_bytes, request.model)

    def stored(self, user_bytes: int, reasked: bool) -> Decimal:
        """For a call of which only the user message is stored, to any model; 0 where no call is paid, but the hour."""
        by_token = [model for model in self._models if self._prices.usd_per_hour(model) is None]
        found = [self._of(self._system + user_bytes + 64 + _REASK_BYTES * reasked, model) for model in by_token]
        dollars = [usd for usd in found if usd is not None]
        assert len(dollars) == len(found)  # see refuse_unbounded
        return max(dollars, default=Decimal(0))

    def _of(self, text_bytes: int, model: str) -> Decimal | None:
        return self._prices.worst_case(text_bytes + self._frame, self.output, model, self.tier)


def refuse_unbounded(settings: Settings, worst_case: WorstCase, prices: PriceTable) -> None:
    """Raise UsageError when there is a budget, and a call has no price or no bound: it could not be kept."""
    if not has_caps(settings):
        return
    tier = worst_case.tier
    for model in (one for one in settings.request.models if prices.usd_per_hour(one) is None):
        if worst_case.output is None:
            raise UsageError(
                "a budget needs a bound on the answer",
                hint="set max_completion_tokens in [request] params of pipeline.toml",
            )
        if prices.worst_case(1, worst_case.output, model, tier) is None:
            at = "" if tier is None else f" at tier {tier}"
            raise UsageError(
                f"a budget needs a price, and none is known for {model!r}{at}",
                hint=f"add [prices.{model!r}] with input and output to pipeline.toml or to a file that --prices names, "
                "in dollars per million tokens",
            )


def has_caps(settings: Settings) -> bool:
    """Whether there is any budget."""
    budget = settings.budget
    return any(usd is not None for usd in (settings.limits.budget_usd, budget.per_day, budget.per_month))


def caps_of(
    con: duckdb.DuckDBPyConnection, settings: Settings, run: Run, worst_case: WorstCase, clock: Callable[[], float]
) -> Caps:
    """The caps of a run that begins, with what earlier runs spent of them."""

    def charged(**which: Any) -> Decimal:
        return ledgers.charged(ledgers.bills(con, **which), worst_case.stored)

    now, caps = clock(), []
    if (usd := settings.limits.budget_usd) is not None:
        caps.append(Cap(usd, charged(runs=run.resumes)))
    for name, usd, span_of in (
        ("day", settings.budget.per_day, day_of),
        ("month", settings.budget.per_month, month_of),
    ):
        if usd is not None:
            began, ends = span_of(now)
            hint = f"the same command goes on in the next {name}, or now with --set budget.per_{name}=MORE"
            caps.append(Cap(usd, charged(since=began), f"budget of the {name}", hint, span_of, ends))
    return Caps(caps, clock)


def drawing(ledger: Ledger, run: Run) -> Callable[[Decimal], Any]:
    """How a run stores what it may have spent."""
    numbers = count(1)

    async def store(usd: Decimal) -> None:
        number = next(numbers)
        await ledger.ask(lambda con: ledgers.draw(con, run.run_no, number, usd))

    return store
