"""Intervals by resampling: the bootstrap, seeded, so that the same rows give the same interval."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate
from typing import TypeVar

from llmbatch.grade.stats.intervals import Interval

T = TypeVar("T")
DRAWS = 1_000


def bootstrap_mean(values: Mapping[float, int], *, seed: int = 0, draws: int = DRAWS, level: float = 0.95) -> Interval:
    """The percentile interval of a mean, from counts by value. For paired groups give the differences of the pairs.

    B. Efron, Bootstrap methods: another look at the jackknife, Annals of Statistics 7 (1979) 1-26.
    """
    return bootstrap_ratio(values, lambda drawn: sum(drawn) / len(drawn), seed=seed, draws=draws, level=level)


def bootstrap_ratio(
    counts: Mapping[T, int],
    statistic: Callable[[Sequence[T]], float],
    *,
    seed: int = 0,
    draws: int = DRAWS,
    level: float = 0.95,
) -> Interval:
    """The percentile interval of any statistic of rows, from counts by kind of row.

    Each draw takes as many rows as there are, with replacement. Rows are what varies, so a statistic of several labels
    a row keeps what goes together. (0, 1) for no rows.
    """
    n = sum(counts.values())
    if not n:
        return Interval(0.0, 1.0)
    kinds, weights = list(counts), list(accumulate(counts.values()))
    rng = random.Random(seed)
    drawn = sorted(statistic(rng.choices(kinds, cum_weights=weights, k=n)) for _ in range(draws))
    tail = (1 - level) / 2
    return Interval(drawn[int(tail * (draws - 1))], drawn[round((1 - tail) * (draws - 1))])
