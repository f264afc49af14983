"""The same rows asked on several nights: each row is held against itself, so that easy and hard rows do not blur it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from llmbatch.grade.stats.special import normal_above

_EXACT = 300  #: rows that were not always the same, up to which the distribution is worked out


def fewer(now: str, nights: Sequence[str]) -> float:
    """One-sided p that fewer rows are right tonight than on other nights; a 1 or 0 for each row, in the same order.

    If tonight is a night like the others, then of a row that was right ``s`` times in all ``k`` nights together
    (tonight included) tonight's answer is right with ``s / k``, whatever the row: each row is a stratum of N. Mantel,
    W. Haenszel, Statistical aspects of the analysis of data from retrospective studies of disease, JNCI 22 (1959)
    719-748. With one night before it is McNemar's test. The sum's distribution is exact where few rows varied, else
    normal with a correction for continuity. 1 without a row that varied.
    """
    right, chances = _open(now, nights)
    if not chances:
        return 1.0
    if len(chances) <= _EXACT:
        return _at_most(right, chances)
    spread = math.sqrt(sum(chance * (1 - chance) for chance in chances))
    return normal_above((sum(chances) - right - 0.5) / spread)


def paired_z(now: str, nights: Sequence[str]) -> float:
    """The same as a z, without the correction: approximately standard normal. 0 where no row varied."""
    right, chances = _open(now, nights)
    spread = math.sqrt(sum(chance * (1 - chance) for chance in chances))
    return (right - sum(chances)) / spread if spread else 0.0


def paired_error(now: str, nights: Sequence[str]) -> float:
    """The standard error of the change of the share that is right, from the rows' own changes. 0 for one row."""
    changes = Counter(
        (verdict == "1") - sum(night[row] == "1" for night in nights) / len(nights) for row, verdict in enumerate(now)
    )
    n = len(now)
    mean = sum(change * rows for change, rows in changes.items()) / n
    spread = sum(rows * (change - mean) ** 2 for change, rows in changes.items())
    return math.sqrt(spread / max(1, n - 1) / n)


def _open(now: str, nights: Sequence[str]) -> tuple[int, list[float]]:
    """Of rows that were not always the same: how many are right tonight, and with which chance each would be."""
    whole = [now, *nights]
    chances = [sum(night[row] == "1" for night in whole) / len(whole) for row in range(len(now))]
    right = sum(verdict == "1" and 0 < chance < 1 for verdict, chance in zip(now, chances, strict=True))
    return right, [chance for chance in chances if 0 < chance < 1]


def _at_most(most: int, chances: Sequence[float]) -> float:
    """P(at most so many of independent events happen), by adding one event after the other."""
    exactly = [1.0] + [0.0] * (most + 1)
    for chance in chances:
        for number in range(most, 0, -1):
            exactly[number] = exactly[number] * (1 - chance) + exactly[number - 1] * chance
        exactly[0] *= 1 - chance
    return min(1.0, math.fsum(exactly[: most + 1]))
