"""The engine's observer while an intake works."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from llmbatch.tally import Tally
from llmbatch.types import Attempt, Outcome, Reply, Verdict


@dataclass(frozen=True, slots=True)
class Watching:
    """Hands on to the tally, and what an intake needs to the intake."""

    tally: Tally
    ended: Callable[[Outcome, Reply | None], None]

    def planned(self, total: int) -> None:
        """Tell the tally."""
        self.tally.planned(total)

    def attempted(self, attempt: Attempt) -> None:
        """Tell the tally."""
        self.tally.attempted(attempt)

    def judged(self, reply: Reply, verdict: Verdict) -> None:
        """Tell the tally."""
        self.tally.judged(reply, verdict)

    def finished(self, outcome: Outcome, reply: Reply | None) -> None:
        """Tell both."""
        self.tally.finished(outcome, reply)
        self.ended(outcome, reply)

    def failed(self, outcome: Outcome, place: str, problem: Callable[[], str]) -> None:
        """Tell the tally."""
        self.tally.failed(outcome, place, problem)

    def noted(self, message: str) -> None:
        """Tell the tally."""
        self.tally.noted(message)
