"""How likely it is that batches are done in time, by those of earlier nights."""

from __future__ import annotations

from collections.abc import Iterable
from math import inf

#: What is assumed of a provider whose batches nobody has seen yet: "within 24 hours, often sooner". All of it weighs
#: as much as two batches that were seen.
_UNKNOWN = (600.0, 1_800.0, 3_600.0, 7_200.0, 21_600.0, inf)
_WEIGHT = 2 / len(_UNKNOWN)


def chance(history: Iterable[float], by_s: float, age_s: float = 0.0) -> float:
    """That a batch is done within ``by_s`` seconds of its creation, given that it was not within ``age_s``.

    ``history`` are the seconds that earlier batches took; infinite for one that was not done in its time.
    """
    seen = [*((took, 1.0) for took in history), *((took, _WEIGHT) for took in _UNKNOWN)]
    left = sum(weight for took, weight in seen if took > age_s)
    return sum(weight for took, weight in seen if age_s < took <= by_s) / left
