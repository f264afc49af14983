"""How many rows it takes, and what so many rows can show."""

from __future__ import annotations

import math

from llmbatch.grade.stats.special import normal_quantile


def rows_for_half_width(half_width: float, share: float = 0.5, level: float = 0.95) -> int:
    """Rows so that Wilson's interval of a share is about ``share`` +- ``half_width``. 0.5 is the worst case.

    The width of Wilson's interval at that share, solved for n by bisection.
    """
    z = normal_quantile((1 + level) / 2)

    def reach(n: int) -> float:
        return z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)

    low, high = 0, 1
    while reach(high) > half_width:
        low, high = high, high * 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if reach(middle) <= half_width else (middle, high)
    return high


def rows_for_difference(before: float, after: float, alpha: float = 0.05, power: float = 0.9) -> int:
    """Rows in each of two groups so that a two-sided test sees ``before`` become ``after`` with so much ``power``.

    J. L. Fleiss, Statistical Methods for Rates and Proportions, 2nd ed. (1981), formula 3.14 (no continuity
    correction). ``before`` and ``after`` must differ.
    """
    middle = (before + after) / 2
    chance = normal_quantile(1 - alpha / 2) * math.sqrt(2 * middle * (1 - middle))
    seen = normal_quantile(power) * math.sqrt(before * (1 - before) + after * (1 - after))
    return math.ceil(((chance + seen) / (before - after)) ** 2)


def detectable(share: float, n1: int, n2: int, alpha: float = 0.05, power: float = 0.9) -> float:
    """The smallest fall of a share that a one-sided test of two groups sees with so much ``power``; at most ``share``.

    The same formula for groups of unequal size, solved for the difference by bisection.
    """
    z_alpha, z_power = normal_quantile(1 - alpha), normal_quantile(power)

    def seen(fall: float) -> bool:
        lower = share - fall
        pooled = (lower * n1 + share * n2) / (n1 + n2)
        chance = z_alpha * math.sqrt(pooled * (1 - pooled) * (1 / n1 + 1 / n2))
        return fall >= chance + z_power * math.sqrt(lower * (1 - lower) / n1 + share * (1 - share) / n2)

    low, high = 0.0, share
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (low, middle) if seen(middle) else (middle, high)
    return high
