"""The cheapest candidate that is good enough: named when it is there, and not when it is not."""

import pytest

from llmbatch.candidates import Bid, best, cheapest
from tests.candidates.worlds import NONE_FIT, THREE, below, named, trial


def test_the_right_model_is_named() -> None:
    found = [named(THREE, trial(THREE, 0.9, 300, seed)) for seed in range(100)]
    assert found.count("middle") >= 95


def test_a_model_below_target_is_seldom_certified() -> None:
    wrong = sum(below(NONE_FIT, trial(NONE_FIT, 0.9, 300, seed), 0.9) for seed in range(300))
    assert wrong <= 15  # 5 %; about 2 % happen, and 95 % would if the selecting half certified itself


def bid(name: str, selecting: int, certifying: int, price: float) -> Bid:
    """A candidate that is right so often of 100 rows in each half."""
    one, two = ([1.0] * k + [0.0] * (100 - k) for k in (selecting, certifying))
    return Bid(name, one, two, price)


def test_the_half_that_selects_does_not_certify() -> None:
    lucky = bid("lucky", 100, 80, 1.0)
    (found,) = cheapest([lucky], 0.9, two_valued=True)
    assert not found.holds
    assert (found.mean, found.rows) == (0.8, 100)


def test_the_test_goes_from_the_most_promising_to_the_cheapest_until_one_fails() -> None:
    bids = [
        bid("small", 96, 99, 1.0),
        bid("dominated", 97, 99, 6.0),
        bid("middle", 98, 90, 2.0),
        bid("large", 99, 99, 5),
    ]
    found = cheapest(bids, 0.9, two_valued=True)
    assert [(one.name, one.holds) for one in found] == [("large", True), ("middle", False)]
    assert cheapest([bid("bad", 89, 100, 1.0)], 0.9, two_valued=True) == ()


def test_what_is_not_shown_says_how_many_rows_would() -> None:
    (found,) = cheapest([bid("middle", 95, 95, 1.0)], 0.93, two_valued=True)
    assert not found.holds
    assert found.wanted_rows is not None
    assert 1_000 < found.wanted_rows < 10_000


def test_without_a_target_the_best_is_taken_and_its_score_is_that_of_the_other_half() -> None:
    (found,) = best([bid("a", 90, 99, 1.0), bid("b", 95, 85, 2.0)], two_valued=True)
    assert (found.name, found.mean, found.holds) == ("b", 0.85, True)
    assert best([], two_valued=True) == ()


@pytest.mark.parametrize("two_valued", [True, False])
def test_no_rows_certify_nothing(two_valued: bool) -> None:
    few = Bid("a", [1.0] * 10, [1.0] * 10, 1.0)
    (found,) = cheapest([few], 0.9, two_valued=two_valued)
    assert not found.holds
