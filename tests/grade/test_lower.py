"""What a mean is at least: too high seldom enough, and not far too low."""

import random
from collections.abc import Callable

import pytest

from llmbatch.grade.stats import clopper_pearson, lower_bound, right_rows_wanted

Draw = Callable[[random.Random], float]


@pytest.mark.parametrize(
    ("draw", "mean"),
    [
        (lambda rng: rng.random(), 0.5),
        (lambda rng: 0.0 if rng.random() < 0.05 else 0.98, 0.931),
        (lambda rng: rng.choices((0, 0.5, 1), (0.05, 0.1, 0.85))[0], 0.9),
    ],
)
def test_a_bound_by_betting_is_seldom_too_high(draw: Draw, mean: float) -> None:
    rng = random.Random(7)
    bounds = [lower_bound([draw(rng) for _ in range(100)], 0.05, two_valued=False) for _ in range(60)]
    assert sum(bound > mean for bound in bounds) <= 8  # 3 expected at most
    assert sum(bounds) / len(bounds) > mean - 0.12


def test_of_right_and_wrong_it_is_the_exact_one() -> None:
    scores = ([1.0] * 19 + [0.0]) * 5
    assert lower_bound(scores, 0.05, two_valued=True) == clopper_pearson(95, 100, 0.9).low
    assert lower_bound(scores, 0.05, two_valued=False) < 0.95


def test_the_ends() -> None:
    assert lower_bound([], 0.05, two_valued=False) == 0.0
    assert lower_bound([0.0] * 50, 0.05, two_valued=False) == pytest.approx(0.0, abs=1e-6)
    assert 0.9 < lower_bound([1.0] * 100, 0.05, two_valued=False) < 1.0


def test_rows_that_can_show_a_target_at_all() -> None:
    rows = right_rows_wanted(0.95, 0.05)
    assert rows == 59
    assert lower_bound([1.0] * rows, 0.05, two_valued=True) >= 0.95 > lower_bound([1.0] * 58, 0.05, two_valued=True)
    assert right_rows_wanted(0.0, 0.05) == right_rows_wanted(1.0, 0.05) == 0
