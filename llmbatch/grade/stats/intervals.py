"""Confidence intervals of shares, differences of shares, and means."""

from __future__ import annotations

import math
from dataclasses import dataclass

from llmbatch.grade.stats.special import beta_quantile, normal_quantile, student_quantile


@dataclass(frozen=True, slots=True)
class Interval:
    """From ``low`` to ``high``, both ends included."""

    low: float
    high: float

    @property
    def half_width(self) -> float:
        """Half of its length."""
        return (self.high - self.low) / 2


def wilson(k: int, n: int, level: float = 0.95) -> Interval:
    """Wilson's score interval of a share: ``k`` of ``n``. Covers about ``level``; (0, 1) for n = 0.

    E. B. Wilson, Probable inference, the law of succession, and statistical inference, JASA 22 (1927) 209-212.
    """
    if n == 0:
        return Interval(0.0, 1.0)
    z2 = _z(level) ** 2
    p = k / n
    centre = (p + z2 / (2 * n)) / (1 + z2 / n)
    reach = math.sqrt(z2 * (p * (1 - p) + z2 / (4 * n)) / n) / (1 + z2 / n)
    return Interval(0.0 if k == 0 else max(0.0, centre - reach), 1.0 if k == n else min(1.0, centre + reach))


def clopper_pearson(k: int, n: int, level: float = 0.95) -> Interval:
    """The exact interval of a share: covers at least ``level``, whatever the share. (0, 1) for n = 0.

    C. J. Clopper, E. S. Pearson, The use of confidence or fiducial limits, Biometrika 26 (1934) 404-413.
    """
    tail = (1 - level) / 2
    low = 0.0 if k == 0 else beta_quantile(tail, k, n - k + 1)
    high = 1.0 if k == n else beta_quantile(1 - tail, k + 1, n - k)
    return Interval(low, high)


def newcombe(k1: int, n1: int, k2: int, n2: int, level: float = 0.95) -> Interval:
    """The interval of ``k1/n1 - k2/n2`` of two independent groups, from their Wilson intervals.

    R. G. Newcombe, Interval estimation for the difference between independent proportions, Statistics in Medicine 17
    (1998) 873-890, method 10.
    """
    if n1 == 0 or n2 == 0:
        return Interval(-1.0, 1.0)
    p1, p2, one, two = k1 / n1, k2 / n2, wilson(k1, n1, level), wilson(k2, n2, level)
    low = p1 - p2 - math.hypot(p1 - one.low, two.high - p2)
    high = p1 - p2 + math.hypot(one.high - p1, p2 - two.low)
    return Interval(low, high)


def mean_interval(mean: float, variance: float, n: int, level: float = 0.95) -> Interval:
    """Student's interval of a mean of values in 0..1, cut to 0..1; ``variance`` is the values' own (by n - 1).

    Student (W. S. Gosset), The probable error of a mean, Biometrika 6 (1908) 1-25. (0, 1) for n < 2.
    """
    if n < 2:
        return Interval(0.0, 1.0)
    reach = student_quantile((1 + level) / 2, n - 1) * math.sqrt(variance / n)
    return Interval(max(0.0, mean - reach), min(1.0, mean + reach))


def _z(level: float) -> float:
    return normal_quantile((1 + level) / 2)
