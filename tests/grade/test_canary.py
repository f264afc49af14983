"""When gold rows stop a night: the figures of docs/quality.md, by exact probabilities."""

from decimal import Decimal

import pytest

from llmbatch.grade import canary
from llmbatch.grade.stats.special import binomial_at_most


def most_below(rows: int, floor: float) -> int:
    """The most rows that may agree for the night to be stopped; -1 when it never is."""
    return max((k for k in range(rows + 1) if canary([n < k for n in range(rows)], floor, 0, None).below), default=-1)


@pytest.mark.parametrize(("rows", "seen"), [(200, 0.99), (100, 0.87), (30, 0.39), (10, 0.12)])
def test_how_often_a_bad_model_is_turned_away_and_a_good_one(rows: int, seen: float) -> None:
    most = most_below(rows, 0.9)
    assert binomial_at_most(most, rows, 0.8) == pytest.approx(seen, abs=0.006)
    assert binomial_at_most(most, rows, 0.9) <= 0.05  # just good enough: turned away one night in twenty at most


def test_what_is_said() -> None:
    found = canary([True] * 9 + [False], 0.95, 12, Decimal("0.01"))
    assert (found.agreed, found.rows, found.attempts, found.cost_usd) == (9, 10, 12, 0.01)
    assert not found.below
    assert found.undecided
    assert found.wanted_rows is not None
    assert found.wanted_rows > 100
    good = canary([True] * 200, 0.95, 0, None)
    assert not good.below
    assert not good.undecided
    assert canary([False], 0.0, 0, None).wanted_rows is None
