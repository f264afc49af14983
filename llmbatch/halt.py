"""How a run is told to stop: one place, so that every waiter hears of it and none is cancelled in the middle."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from llmbatch.errors import NextTier, Stop, StorageError


class Halt:
    """The first reason to stop wins. After it, nothing new is sent; what is in flight may end."""

    def __init__(self) -> None:
        self.reason: Stop | StorageError | None = None
        self._event = asyncio.Event()
        self._listeners: list[Callable[[Stop | StorageError], None]] = []

    def __bool__(self) -> bool:
        return self.reason is not None

    def listen(self, listener: Callable[[Stop | StorageError], None]) -> None:
        """Call ``listener(reason)`` once, when the run is told to stop."""
        self._listeners.append(listener)

    def stop(self, reason: Stop | StorageError) -> None:
        """Stop for ``reason``; later reasons are ignored."""
        if self.reason is not None:
            return
        self.reason = reason
        self._event.set()
        for listener in self._listeners:
            listener(reason)

    def check(self) -> None:
        """Raise the reason, if there is one."""
        if self.reason is not None:
            raise self.reason

    async def wait(self) -> None:
        """Return when the run is told to stop."""
        await self._event.wait()

    async def sleep(self, seconds: float) -> None:
        """Sleep; raise the reason as soon as the run is told to stop."""
        self.check()
        try:
            async with asyncio.timeout(seconds):
                await self._event.wait()
        except TimeoutError:
            return
        self.check()


class Part(Halt):
    """The halt of a part of a run, which may also end for the next part's sake. Any other reason ends the run."""

    def __init__(self, run: Halt) -> None:
        super().__init__()
        self._run = run
        run.listen(self._end)

    def stop(self, reason: Stop | StorageError) -> None:
        """End this part, for NextTier; else the run, and this part with it."""
        if isinstance(reason, NextTier):
            super().stop(reason)
        else:
            self._run.stop(reason)

    def rearm(self) -> None:
        """The next part begins, unless the run ends."""
        if isinstance(self.reason, NextTier):
            self.reason = None
            self._event.clear()

    def _end(self, reason: Stop | StorageError) -> None:
        self.rearm()  # the run's reason counts, and not that of the part
        super().stop(reason)
