"""The changes of a run's limits that were not seen before."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from llmbatch.limits.changes import Change


class NewChanges:
    """Reads the changes that the limits keep, which are the latest only; each is taken once."""

    def __init__(self, kept: Callable[[], Sequence[Change]]) -> None:
        self._kept = kept
        self._last: Change | None = None

    def take(self) -> Sequence[Change]:
        """Those after the last one taken; all that are kept, when that one is kept no more."""
        kept = self._kept()
        at = next((i for i, change in enumerate(kept) if change is self._last), -1)
        self._last = kept[-1] if kept else None
        return kept[at + 1 :]
