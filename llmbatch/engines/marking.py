"""Observers that keep the batch engine's knowledge of rows true while others ask them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal

from llmbatch.engines.batch_api.rows import Rows
from llmbatch.types import Attempt, Observer, Outcome, Reply, Verdict


@dataclass(slots=True)
class Passing:
    """Hands everything on."""

    inner: Observer
    rows: Rows | None = None

    def planned(self, total: int) -> None:
        """Hand on."""
        self.inner.planned(total)

    def attempted(self, attempt: Attempt) -> None:
        """Hand on."""
        self.inner.attempted(attempt)

    def judged(self, reply: Reply, verdict: Verdict) -> None:
        """Hand on."""
        self.inner.judged(reply, verdict)

    def finished(self, outcome: Outcome, reply: Reply | None) -> None:
        """Hand on."""
        self.inner.finished(outcome, reply)

    def failed(self, outcome: Outcome, place: str, problem: Callable[[], str]) -> None:
        """Hand on."""
        self.inner.failed(outcome, place, problem)

    def noted(self, message: str) -> None:
        """Hand on."""
        self.inner.noted(message)


class Marking(Passing):
    """The live engine's: rows that get their outcome are marked."""

    __slots__ = ()

    def finished(self, outcome: Outcome, reply: Reply | None) -> None:
        """Mark, and hand on."""
        if self.rows is not None and outcome.row_no >= 0:
            self.rows.settle(outcome.row_no)
        self.inner.finished(outcome, reply)


@dataclass(slots=True)
class Twice(Passing):
    """The batch engine's: counts answers to rows that have their outcome already, from calls made meanwhile."""

    answers: int = 0
    usd: Decimal = field(default_factory=Decimal)

    def attempted(self, attempt: Attempt) -> None:
        """Count, and hand on."""
        if attempt.reply is not None and self.rows is not None and self.rows.settled(attempt.row_no):
            self.answers += 1
            self.usd += attempt.cost_usd or 0
        self.inner.attempted(attempt)
