"""What is known of a run before it begins, put together: history, prices, limits."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import duckdb
import orjson

from llmbatch import ledger as ledgers
from llmbatch import planning
from llmbatch import report as reports
from llmbatch.cli.spending import WorstCase
from llmbatch.ledger.past import Asked, Past
from llmbatch.pipeline import Pipeline
from llmbatch.planning.model import Amount, EarlierPlan, Time
from llmbatch.planning.time import time_of
from llmbatch.prices import PriceTable
from llmbatch.types import Provider, Reply, Request

_REMEMBERED = 4_096  #: keys of requests that were sent lately; the engine has fewer open


@dataclass(slots=True)
class Foresight:
    """What the requests in ``sizes`` will probably use."""

    pipeline: Pipeline
    prices: PriceTable
    worst_case: WorstCase
    past: Past
    sizes: planning.Sizes = field(default_factory=planning.Sizes)
    _learned: planning.Learned | None = None

    @property
    def learned(self) -> planning.Learned:
        """What history, or a rule, says of one row."""
        if self._learned is None:
            errors = [abs(plan.off) for plan, basis in self._plans() if not basis.endswith("rule of thumb")]
            self._learned = planning.learn(
                self.past,
                system=self.pipeline.settings.request.system,
                schema=self.pipeline.schema,
                most_output=self.worst_case.output,
                error=min(1.0, max(errors, default=0.0)),
            )
        return self._learned

    def costs(self, tier: str | None, rows: int | None = None) -> planning.Costs:
        """Tokens and dollars at a tier. A server that is paid by the hour costs the time that it will take."""
        model = self.pipeline.settings.request.model

        def price_of(fresh: float, cached: float, written: float, output: float, reasoning: float) -> float | None:
            use = {"input": fresh, "cached": cached, "cache_write": written, "output": output, "reasoning": reasoning}
            return self.prices.expected(model, tier, **use)

        found = planning.costs(self.sizes, self.learned, price_of, rows=rows)
        per_hour = self.prices.usd_per_hour(model)
        if per_hour is None:
            return found
        seconds = self.time(found).seconds
        dollars = None if seconds is None else Amount(0.8, 1.0, 1.25) * (seconds / 3600 * float(per_hour))
        return planning.Costs(found.calls, found.input_tokens, found.output_tokens, found.cached_tokens, dollars)

    def time(self, costs: planning.Costs) -> Time:
        """How long that takes."""
        tokens = costs.input_tokens.likely + costs.output_tokens.likely
        return time_of(costs.calls.likely, tokens, self.pipeline.settings.limits, self.past.reports)

    def earlier(self) -> tuple[EarlierPlan, ...]:
        """How plans of earlier runs turned out, newest first."""
        return tuple(plan for plan, _ in self._plans())

    def _plans(self) -> list[tuple[EarlierPlan, str]]:
        return [found for report in self.past.reports if (found := _turned_out(report)) is not None]


def planned_of(found: Sequence[Foresight]) -> reports.Planned | None:
    """For the report of a run: what the requests it sent were expected to use, of all models together."""
    sent = [one for one in found if one.sizes.count and one.pipeline.settings.limits.tier != "auto"]
    if not sent:
        return None  # with tier auto nobody knows beforehand what goes at which price
    costs = [one.costs(tier_of(one.pipeline, one.worst_case)) for one in sent]
    amounts = [cost.cost_usd for cost in costs if cost.cost_usd is not None]
    dollars = _dollars(planning.total(amounts)) if len(amounts) == len(costs) else None
    return reports.Planned(
        calls=round(sum(cost.calls.likely for cost in costs)),
        input_tokens=round(sum(cost.input_tokens.likely for cost in costs)),
        output_tokens=round(sum(cost.output_tokens.likely for cost in costs)),
        cost_usd=dollars,
        basis="; ".join(dict.fromkeys(one.learned.basis for one in sent)),
    )


def tier_of(pipeline: Pipeline, worst_case: WorstCase) -> str | None:
    """The tier whose price a plan is made at."""
    return "batch" if pipeline.settings.limits.tier == "batch" else worst_case.tier


def _dollars(amount: Amount) -> reports.DollarRange:
    return reports.DollarRange(Decimal(repr(amount.low)), Decimal(repr(amount.likely)), Decimal(repr(amount.high)))


def _turned_out(report: dict[str, Any]) -> tuple[EarlierPlan, str] | None:
    planned, actual = report.get("planned"), report["cost"]["total_usd"]
    if not planned or not planned["cost_usd"] or not actual or not planned["cost_usd"]["likely"]:
        return None
    return EarlierPlan(report["run_id"], planned["cost_usd"]["likely"], actual), planned["basis"]


def foresee(
    con: duckdb.DuckDBPyConnection,
    pipeline: Pipeline,
    prices: PriceTable,
    worst_case: WorstCase,
    *,
    rehearsal: bool,
) -> Foresight:
    """Ask the ledger what it knows for this pipeline."""
    schema = orjson.dumps(pipeline.schema).decode()
    asked = Asked(pipeline.settings.request.asked, pipeline.version, schema, simulated=rehearsal)
    return Foresight(pipeline, prices, worst_case, ledgers.past(con, asked))


class Foreseen:
    """The outermost wrapper: notes the size of each request that a run sends, once."""

    def __init__(self, inner: Provider, sizes: planning.Sizes) -> None:
        self._inner = inner
        self._sizes = sizes
        self._lately: OrderedDict[str, None] = OrderedDict()

    async def call(self, request: Request) -> Reply:
        """Note and ask."""
        if request.key not in self._lately:  # else it is asked again for an invalid answer
            self._sizes.add(request)
            self._lately[request.key] = None
            if len(self._lately) > _REMEMBERED:
                self._lately.popitem(last=False)
        return await self._inner.call(request)

    async def close(self) -> None:
        """Close the provider."""
        await self._inner.close()
