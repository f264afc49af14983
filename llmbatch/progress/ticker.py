"""Something done again and again beside the run."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self


class Ticker:
    """Calls ``tick``, which must not raise, every ``period_s`` seconds in a thread, while entered."""

    def __init__(self, period_s: float, tick: Callable[[], None]) -> None:
        self._period_s, self._tick = period_s, tick
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="llmbatch-progress", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Wait for a tick under way; none comes after."""
        self._stop.set()
        self._thread.join()

    def _loop(self) -> None:
        while not self._stop.wait(self._period_s):
            self._tick()
