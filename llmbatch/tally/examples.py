"""A few rows of each class of failure, so that a report can say what went wrong and where."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from llmbatch.types import Outcome

_EACH = 3
_CLASSES = 64  #: a pipeline's classes are some twenty; a fault of ours must not fill the memory


@dataclass(frozen=True, slots=True)
class Example:
    """One row that failed or was skipped."""

    status: str
    failure: str  #: its class
    row_no: int
    id: str | None
    key: str | None
    place: str  #: ``tickets.jsonl:17``
    problem: str  #: one line, without the row's text


class Examples:
    """The first three rows of each class."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str], list[Example]] = {}

    def add(self, outcome: Outcome, place: str, problem: Callable[[], str]) -> None:
        """Keep the row while its class has fewer than three; only then is ``problem`` called."""
        kind = outcome.status.value, outcome.failure or "unknown"
        kept = self._kept.get(kind)
        if kept is None:
            if len(self._kept) >= _CLASSES:
                return
            kept = self._kept[kind] = []
        if len(kept) < _EACH:
            kept.append(Example(*kind, outcome.row_no, outcome.row_id, outcome.key, place, problem()))

    def list(self) -> tuple[Example, ...]:
        """All that are kept, a class after the other."""
        return tuple(example for kept in tuple(self._kept.values()) for example in tuple(kept))
