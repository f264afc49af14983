"""An observer that hands everything on: for those that listen to one thing beside another observer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from llmbatch.types import Attempt, Observer, Outcome, Reply, Verdict


@dataclass(slots=True)
class Passing:
    """Hands everything on."""

    inner: Observer

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
