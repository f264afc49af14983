"""What calls and batches must know of each other, when both ask the same rows."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal

from llmbatch.engines.batch_api.rows import Rows
from llmbatch.passing import Passing
from llmbatch.types import Attempt, Outcome, Reply


@dataclass(slots=True)
class Marking(Passing):
    """The live engine's: rows that get their outcome are marked."""

    rows: Rows | None = None

    def finished(self, outcome: Outcome, reply: Reply | None) -> None:
        """Mark, and hand on."""
        if self.rows is not None and outcome.row_no >= 0:
            self.rows.settle(outcome.row_no)
        self.inner.finished(outcome, reply)


@dataclass(slots=True)
class Twice:
    """Counts answers out of batches to requests that calls were made for meanwhile."""

    answers: int = 0
    usd: Decimal = field(default_factory=Decimal)
    saved_usd: Decimal = field(default_factory=Decimal)  #: what their tier would have saved

    def add(self, attempt: Attempt, saved_usd: Decimal | None) -> None:
        """Count one."""
        self.answers += 1
        self.usd += attempt.cost_usd or 0
        self.saved_usd += saved_usd or 0
