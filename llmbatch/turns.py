"""A few at a time: what comes in a burst goes on over several turns of the event loop.

256 answers that come at once are 0.1 s of work. Done in one turn they would hold the loop so long, the next calls would
leave at once again, and their answers come in the next burst.
"""

from __future__ import annotations

import asyncio
from collections import deque


class Turns:
    """Lets so many go on in each turn of the loop, in order. Use within one loop."""

    def __init__(self, each: int) -> None:
        self._each = self._left = each
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def take(self) -> None:
        """Return in this turn, if not too many did, else in one of the next."""
        loop = asyncio.get_running_loop()
        if self._left == self._each:
            loop.call_soon(self._next)
        if self._left and not self._waiting:
            self._left -= 1
            return
        turn = loop.create_future()
        self._waiting.append(turn)
        await turn

    def _next(self) -> None:
        self._left = self._each
        while self._left and self._waiting:
            if not (turn := self._waiting.popleft()).done():  # else it was cancelled
                turn.set_result(None)
                self._left -= 1
        if self._left < self._each:
            asyncio.get_running_loop().call_soon(self._next)
