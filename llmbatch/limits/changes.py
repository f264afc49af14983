"""What the limits did, with the reason: for the report and ``--verbose``."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

_KEPT = 200  #: the latest changes that are kept


@dataclass(frozen=True, slots=True)
class Change:
    """One change of a limit, or a pause."""

    at: float  #: seconds since the start
    what: str  #: concurrency, requests_per_minute, tokens_per_minute, pause (seconds) or breaker (1 open, 0 closed)
    value: float | None  #: the new value; None: no longer limited
    reason: str
    model: str | None = None  #: whose limit, where several models are asked

    def __str__(self) -> str:
        shown = "none" if self.value is None else f"{self.value:.6g}"
        if self.what == "breaker":
            shown = "open" if self.value else "closed"
        unit = " s" if self.what == "pause" else ""
        of = "" if self.model is None else f" of {self.model}"
        return f"{self.what.replace('_', ' ')} {shown}{unit}{of}: {self.reason}"


class Changes:
    """The latest changes; each is also told to ``listener`` as a line of text."""

    def __init__(self, started: float, listener: Callable[[str], None] | None = None, model: str | None = None) -> None:
        self._started = started
        self._model = model
        self._listener = listener
        self._kept: deque[Change] = deque(maxlen=_KEPT)

    def add(self, now: float, what: str, value: float | None, reason: str) -> None:
        """Note a change made at ``now`` (the clock's seconds)."""
        change = Change(now - self._started, what, value, reason, self._model)
        self._kept.append(change)
        if self._listener is not None:
            self._listener(str(change))

    def list(self) -> Sequence[Change]:
        """The changes kept, oldest first."""
        return tuple(self._kept)
