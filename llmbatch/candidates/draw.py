"""Which rows candidates are asked: chosen by a seed, each stratum with its share, in two halves alike."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from hashlib import blake2b

_MOST_STRATA = 50
_OTHERS = "(other)"


@dataclass(slots=True)
class Drawing:
    """A stratified sample in one pass and constant memory: the same rows for the same seed and input.

    Strata have as many rows as is their share, rounded by chance so that every row has the same chance; so the plain
    mean over the rows is that of the input, and its intervals are, if anything, too wide (W. G. Cochran, Sampling
    Techniques, 3rd ed. (1977), sections 5.3 and 5A.1).
    """

    seed: int
    most: int  #: rows
    seen: Counter[str] = field(default_factory=Counter)  #: rows by stratum
    kept: dict[str, list[tuple[float, int]]] = field(default_factory=dict)  #: -lot, row_no: those of the lowest lots

    def add(self, row_no: int, stratum: str, key: str | None = None) -> None:
        """Take a row into account. With ``key`` its lot hangs on that, wherever it stands."""
        if stratum not in self.seen and len(self.seen) >= _MOST_STRATA:
            stratum = _OTHERS
        self.seen[stratum] += 1
        kept = self.kept.setdefault(stratum, [])
        entry = (-lot(self.seed, row_no if key is None else key), row_no)
        if len(kept) < self.most:
            heapq.heappush(kept, entry)
        else:
            heapq.heappushpop(kept, entry)

    def rows(self) -> list[int]:
        """The rows drawn, stratum by stratum, each by lot."""
        return [
            row_no
            for stratum, number in self._shares()
            for _, row_no in sorted(self.kept[stratum], reverse=True)[:number]
        ]

    def _shares(self) -> Iterator[tuple[str, int]]:
        whole = self.seen.total()
        number, before, start = min(self.most, whole), 0, lot(self.seed, -1)
        for stratum in sorted(self.seen):
            after = before + self.seen[stratum]
            yield stratum, int(number * after / whole + start) - int(number * before / whole + start)
            before = after


def halves(rows: Iterable[int], seed: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Every second row for selecting, the others for certifying; of rows in the order of their strata.

    Each half is in an order by chance, as bets on its mean must be.
    """
    rows = list(rows)
    first = lot(seed, -2) < 0.5

    def shuffled(half: list[int]) -> tuple[int, ...]:
        return tuple(sorted(half, key=lambda row_no: lot(seed, -3 - row_no)))

    return shuffled(rows[first::2]), shuffled(rows[not first :: 2])


def lot(seed: int, row: int | str) -> float:
    """A row's lot, by its number or its key: a number in [0, 1) that depends on nothing else."""
    digest = blake2b(f"{seed}:{row}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64
