"""The canary: rows whose answer is known, asked before all others."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from llmbatch.grade.stats import Interval, clopper_pearson, rows_for_difference

_LEVEL = 0.90  #: two-sided, so each end is passed by chance 5 times in 100


@dataclass(frozen=True, slots=True)
class Canary:
    """How the gold rows were answered tonight."""

    rows: int
    agreed: int  #: every grader with gold gave at least its ``passes``; a row that failed did not agree
    floor: float  #: of agreed / rows
    interval: Interval  #: of agreed / rows, Clopper-Pearson, 90 %
    attempts: int  #: calls that it took
    cost_usd: float | None  #: of them; null when a price is unknown; it is in ``cost.total_usd`` too
    verdicts: str = ""  #: a 1 or 0 for each gold row, in the order of the file
    gold: str = ""  #: a hash of the rows and what is right: nights with the same one are compared row by row

    @property
    def below(self) -> bool:
        """Whether agreement is below the floor with confidence: by chance 5 times in 100 at most."""
        return self.interval.high < self.floor

    @property
    def undecided(self) -> bool:
        """Whether the floor is within the interval: so few rows cannot tell."""
        return not self.below and self.interval.low < self.floor

    @property
    def wanted_rows(self) -> int | None:
        """Gold rows that would see agreement five points below the floor nine times in ten; None for a floor of 0."""
        return rows_for_difference(self.floor, max(0.0, self.floor - 0.05), alpha=0.1) if self.floor else None


def canary(verdicts: list[bool], floor: float, attempts: int, dollars: Decimal | None, gold: str = "") -> Canary:
    """Sum up the gold rows."""
    agreed = sum(verdicts)
    interval = clopper_pearson(agreed, len(verdicts), _LEVEL)
    cost = None if dollars is None else float(dollars)
    told = "".join("01"[verdict] for verdict in verdicts)
    return Canary(len(verdicts), agreed, floor, interval, attempts, cost, told, gold)
