"""Observers that keep the batch engine's knowledge of rows true while others ask them."""

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
class Twice(Passing):
    """The batch engine's: counts answers to rows that have their outcome already, from calls made meanwhile."""

    rows: Rows | None = None
    answers: int = 0
    usd: Decimal = field(default_factory=Decimal)

    def attempted(self, attempt: Attempt) -> None:
        """Count, and hand on."""
        if attempt.reply is not None and self.rows is not None and self.rows.settled(attempt.row_no):
            self.answers += 1
            self.usd += attempt.cost_usd or 0
        self.inner.attempted(attempt)
