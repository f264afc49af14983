"""What a mean is at least: bounds that hold for every number of rows, not only for many."""

from __future__ import annotations

import math
from collections.abc import Sequence

from llmbatch.grade.stats.intervals import clopper_pearson

_BOLD = 0.75  #: part of the purse that a bet may risk


def lower_bound(scores: Sequence[float], error: float, *, two_valued: bool) -> float:
    """What the mean of the rows behind ``scores`` (0 to 1, in random order) is at least, but for ``error`` of times.

    ``two_valued``: the grader knows only 0 and 1; then it is the lower end of C. J. Clopper and E. S. Pearson's
    interval, which is exact. Else it is the bound by betting of I. Waudby-Smith and A. Ramdas, Estimating means of
    bounded random variables by betting (JRSS B 86 (2024) 1-27), section 4: whoever bets against a mean that is too
    high multiplies the purse by ``1 / error`` that seldom at most. 0 without scores.
    """
    if not scores:
        return 0.0
    if two_valued:
        return clopper_pearson(sum(score >= 0.5 for score in scores), len(scores), 1 - 2 * error).low
    stakes, goal = _stakes(scores, error), math.log(1 / error)
    low, high = 0.0, 1.0
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (middle, high) if _purse(scores, stakes, middle) >= goal else (low, middle)
    return low


def _stakes(scores: Sequence[float], error: float) -> list[float]:
    """What is bet on each row, by the spread of those before it alone."""
    stakes, total, squares = [], 0.5, 0.25
    for seen, score in enumerate(scores, 1):
        stakes.append(math.sqrt(2 * math.log(1 / error) * seen / (len(scores) * squares)))
        total += score
        squares += (score - total / (seen + 1)) ** 2
    return stakes


def _purse(scores: Sequence[float], stakes: Sequence[float], mean: float) -> float:
    """The logarithm of the fullest that the purse gets by betting that the mean is above ``mean``."""
    purse = best = 0.0
    for score, stake in zip(scores, stakes, strict=True):
        purse += math.log1p(min(stake, _BOLD / max(mean, 1e-9)) * (score - mean))
        best = max(best, purse)
    return best


def right_rows_wanted(target: float, error: float) -> int:
    """Rows that show a share of at least ``target`` when every one of them is right: ``target ** rows <= error``."""
    return math.ceil(math.log(error) / math.log(target)) if 0 < target < 1 else 0
