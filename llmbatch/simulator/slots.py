"""The places where a server executes requests; what finds none free queues."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class QueueFull(Exception):
    """No slot is free and no further request may wait for one."""


class Slots:
    """``slots`` places (None: any number) and a queue of ``queue`` requests (None: any length), first come first."""

    def __init__(self, slots: int | None, queue: int | None) -> None:
        self._free = asyncio.Semaphore(slots) if slots else None
        self._queue = queue
        self._waiting = 0

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """Hold a slot. Raises QueueFull at once when it would have to wait and may not."""
        if self._free is None:
            yield
            return
        if self._free.locked() and self._queue is not None and self._waiting >= self._queue:
            raise QueueFull
        self._waiting += 1
        try:
            await self._free.acquire()
        finally:
            self._waiting -= 1
        try:
            yield
        finally:
            self._free.release()
