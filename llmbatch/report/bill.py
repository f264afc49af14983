"""A run's sums -> its bill."""

from __future__ import annotations

from decimal import Decimal

from llmbatch.report.details import DOLLAR_PLACES
from llmbatch.report.model import Cost, ModelCost, TierCost
from llmbatch.tally import ModelSum, Tally
from llmbatch.types import Status


def cost_of(tally: Tally, price_source: str) -> Cost:
    """The bill, without those of prompt versions. A sum in which nothing is priced is None, never 0."""
    answered = sum(m.attempts for m in tally.by_model.values())
    unknown = answered > 0 and tally.unpriced == answered
    no_saving_known = tally.saved_unpriced > 0 and not tally.saved_usd
    no_waste_known = tally.invalid_unpriced > 0 and not tally.invalid_usd
    total = None if unknown else _round(tally.cost_usd)
    tiers = sorted(tally.by_tier.items(), key=lambda pair: (-pair[1].cost_usd, pair[0]))
    models = sorted(tally.by_model.items(), key=lambda pair: (-pair[1].cost_usd, pair[0]))
    return Cost(
        total_usd=total,
        invalid_usd=None if no_waste_known else _round(tally.invalid_usd),
        saved_by_reuse_usd=None if no_saving_known else _round(tally.saved_usd),
        by_model=tuple(_model_cost(name, sums) for name, sums in models),
        unpriced_attempts=tally.unpriced,
        price_source=price_source,
        possibly_paid_usd=None if tally.possibly_paid_unpriced else _round(tally.possibly_paid_usd),
        by_tier=tuple(_tier_cost(name, sums) for name, sums in tiers),
        saved_by_cache_usd=None if unknown else _round(tally.saved_by_cache_usd),
        saved_by_tier_usd=None if unknown else _round(tally.saved_by_tier_usd),
        per_1000_rows_usd=per_1000(total, tally.settled),
        per_1000_done_usd=per_1000(total, tally.rows[Status.DONE]),
    )


def per_1000(total: Decimal | None, rows: int) -> Decimal | None:
    """Dollars by a thousand rows; None without rows, or when the dollars are unknown."""
    return None if total is None or not rows else _round(total * 1000 / rows)


def _model_cost(name: str, sums: ModelSum) -> ModelCost:
    return ModelCost(
        model=name,
        attempts=sums.attempts,
        input=sums.input,
        cached=sums.cached,
        output=sums.output,
        reasoning=sums.reasoning,
        cost_usd=None if sums.attempts and sums.unpriced == sums.attempts else _round(sums.cost_usd),
        unpriced_attempts=sums.unpriced,
    )


def _round(dollars: Decimal) -> Decimal:
    return round(dollars, DOLLAR_PLACES)


def _tier_cost(name: str, sums: ModelSum) -> TierCost:
    known = None if sums.attempts and sums.unpriced == sums.attempts else _round(sums.cost_usd)
    return TierCost(name, sums.attempts, known, sums.unpriced)
