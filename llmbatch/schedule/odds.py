"""How likely it is that batches are done in time, by those of earlier nights."""

from __future__ import annotations

import math
from collections.abc import Iterable
from math import inf

#: What is assumed of a provider whose batches nobody has seen yet: "within 24 hours, often sooner". All of it weighs
#: as much as two batches that were seen.
_UNKNOWN = (600.0, 1_800.0, 3_600.0, 7_200.0, 21_600.0, inf)
_WEIGHT = 2 / len(_UNKNOWN)
_SPREAD = 0.5  #: standard deviation of the logarithm by which a batch differs from one that was seen


def chance(history: Iterable[float], by_s: float, age_s: float = 0.0) -> float:
    """That a batch is done within ``by_s`` seconds of its creation, given that it was not within ``age_s``.

    ``history`` are the seconds that earlier batches took; infinite for one that was not done in its time. Each stands
    for a log-normal distribution around it (a kernel density).
    """
    seen = [*((took, 1.0) for took in history), *((took, _WEIGHT) for took in _UNKNOWN)]
    left = sum(weight * (1 - _done(took, age_s)) for took, weight in seen)
    return (
        sum(weight * (_done(took, by_s) - _done(took, age_s)) for took, weight in seen) / left if by_s > age_s else 0.0
    )


def _done(took: float, by_s: float) -> float:
    """The part of batches like one that took so long that are done by then."""
    if by_s <= 0 or took == inf:
        return 0.0
    if took <= 0 or by_s == inf:
        return 1.0
    return 0.5 * (1 + math.erf(math.log(by_s / took) / (_SPREAD * math.sqrt(2))))
