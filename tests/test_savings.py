"""What cache and tier saved: the same usage at the other price, less what was paid."""

from dataclasses import replace
from decimal import Decimal

import pytest

from llmbatch.prices import PriceTable
from llmbatch.savings import savings
from llmbatch.settings import PriceSettings
from llmbatch.tally import Saved
from llmbatch.types import Usage
from tests.report.runs import attempt, reply

OWN = {"m": PriceSettings(input=Decimal("1"), output=Decimal("2"), cached=Decimal("0.1"))}


def saved(prices: PriceTable, usage: Usage, model: str = "m", tier: str | None = "default") -> Saved | None:
    cost = prices.cost(usage, model, tier, model)
    answer = replace(reply(model), usage=usage, tier=tier, cost_usd=cost)
    return savings(prices, model)(attempt(answer))


def test_cached_tokens_save_the_difference_to_fresh_ones() -> None:
    assert saved(PriceTable(OWN, None), Usage(1_000, 50, cached=400)) == Saved(Decimal("400") * Decimal("0.9e-6"), None)


@pytest.mark.parametrize("tier", ["flex", "batch"])
def test_cheaper_tiers_save_the_difference_to_the_standard_one(tier: str) -> None:
    prices, usage = PriceTable({}, "openai"), Usage(100_000, 10_000)
    found = saved(prices, usage, "gpt-5-mini", tier)
    standard, paid = prices.cost(usage, "gpt-5-mini", None), prices.cost(usage, "gpt-5-mini", tier)
    assert standard is not None
    assert paid is not None
    assert found == Saved(None, standard - paid)
    assert standard > paid > 0


def test_both_at_once_are_told_apart() -> None:
    found = saved(PriceTable({}, "openai"), Usage(100_000, 10_000, cached=50_000), "gpt-5-mini", "flex")
    assert found is not None
    assert found.by_cache is not None
    assert found.by_tier is not None
    assert found.by_cache > 0
    assert found.by_tier > 0


@pytest.mark.parametrize(
    ("usage", "model", "tier"),
    [(Usage(1_000, 50), "m", "default"), (Usage(1_000, 50, cached=5), "unknown", "default"),
     (Usage(1_000, 50), "m", "priority"), (Usage(1_000, 50), "m", None)],
)  # fmt: skip
def test_nothing_is_saved_where_nothing_is_cheaper_or_known(usage: Usage, model: str, tier: str | None) -> None:
    assert saved(PriceTable(OWN, None), usage, model, tier) is None
