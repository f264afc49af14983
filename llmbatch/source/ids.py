"""Finding rows that share an id, in eight bytes a row."""

from __future__ import annotations

from array import array
from collections import Counter

_BUCKETS = 256  #: so that looking for repeats needs little beside the hashes themselves


class IdHashes:
    """64-bit hashes of ids: what repeats here probably repeats there, what does not, does not."""

    def __init__(self) -> None:
        self._buckets = [array("q") for _ in range(_BUCKETS)]

    def add(self, row_id: str) -> None:
        """Take in one row's id."""
        hashed = hash(row_id)
        self._buckets[hashed % _BUCKETS].append(hashed)

    def repeated(self) -> set[int]:
        """``hash(id)`` of each id that was probably taken in more than once."""
        found: set[int] = set()
        for bucket in self._buckets:
            if len(set(bucket)) < len(bucket):
                found.update(hashed for hashed, times in Counter(bucket).items() if times > 1)
        return found
