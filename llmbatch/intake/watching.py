"""The engine's observer while an intake works."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from llmbatch.passing import Passing
from llmbatch.types import Outcome, Reply


@dataclass(slots=True)
class Watching(Passing):
    """Hands on to the tally, and what an intake needs to the intake."""

    ended: Callable[[Outcome, Reply | None], None]

    def finished(self, outcome: Outcome, reply: Reply | None) -> None:
        """Tell both."""
        self.inner.finished(outcome, reply)
        self.ended(outcome, reply)
