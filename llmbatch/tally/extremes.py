"""The slowest and the dearest rows of a run, in two heaps of bounded size."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from heapq import heappush, heappushpop, nlargest

from llmbatch.types import Attempt, Outcome

_KEPT = 10
#: Open rows: more than live calls have under way. Of batches all answers are fetched before any of their rows ends.
_MOST_OPEN = 8_192
_ZERO = Decimal(0)


@dataclass(slots=True)
class RowSum:
    """What a row's calls took together."""

    row_no: int
    id: str | None = None
    attempts: int = 0
    seconds: float = 0.0
    cost_usd: Decimal = _ZERO  #: as far as it is priced
    unpriced: int = 0  #: answers without a known price


@dataclass(slots=True)
class Extremes:
    """Sums up the calls of rows under way, and keeps the ten slowest and the ten dearest that have ended.

    Where very many are under way, those that are neither slow nor dear so far are let go of, and begin anew.
    """

    _open: dict[int, RowSum] = field(default_factory=dict)
    _slowest: list[tuple[float, int, RowSum]] = field(default_factory=list)
    _dearest: list[tuple[Decimal, int, RowSum]] = field(default_factory=list)

    def attempted(self, attempt: Attempt) -> None:
        """Add a call to its row."""
        row = self._open.get(attempt.row_no)
        if row is None:
            if len(self._open) >= _MOST_OPEN:
                self._thin()
            row = self._open[attempt.row_no] = RowSum(attempt.row_no)
        row.attempts += 1
        row.seconds += attempt.latency_s
        if attempt.cost_usd is not None:
            row.cost_usd += attempt.cost_usd
        elif attempt.reply is not None:
            row.unpriced += 1

    def finished(self, outcome: Outcome) -> None:
        """A row has its outcome; only rows that were called for count."""
        row = self._open.pop(outcome.row_no, None)
        if row is None:
            return
        row.id = outcome.row_id
        if len(self._slowest) < _KEPT:
            heappush(self._slowest, (row.seconds, -row.row_no, row))
        elif row.seconds > self._slowest[0][0]:
            heappushpop(self._slowest, (row.seconds, -row.row_no, row))
        if not row.cost_usd:
            return
        if len(self._dearest) < _KEPT:
            heappush(self._dearest, (row.cost_usd, -row.row_no, row))
        elif row.cost_usd > self._dearest[0][0]:
            heappushpop(self._dearest, (row.cost_usd, -row.row_no, row))

    def _thin(self) -> None:
        some, rows = _MOST_OPEN // 4, self._open.values()
        slow, dear = nlargest(some, rows, lambda row: row.seconds), nlargest(some, rows, lambda row: row.cost_usd)
        self._open = {row.row_no: row for row in (*slow, *dear)}

    def slowest(self) -> list[RowSum]:
        """Rows by the time that their calls took, the slowest first."""
        return [row for *_, row in sorted(self._slowest, key=lambda entry: entry[:2], reverse=True)]

    def dearest(self) -> list[RowSum]:
        """Rows by what their calls cost, the dearest first; free ones are left out."""
        return [row for *_, row in sorted(self._dearest, key=lambda entry: entry[:2], reverse=True)]
