"""Room for open rows: how many may be between reading and outcome, and how long their prompts may be together."""

from __future__ import annotations

import asyncio


class Room:
    """A count of rows and one of characters. One task takes, anybody gives back.

    A prompt longer than all of the room goes when nothing else is open.
    """

    def __init__(self, rows: int, chars: int) -> None:
        self.rows, self.chars = rows, chars
        self._rows_open = 0
        self._chars_open = 0
        self._given: asyncio.Future[None] | None = None

    def take(self, chars: int) -> bool:
        """Take room for one row; False when there is none."""
        if self._rows_open and not (self._rows_open < self.rows and self._chars_open + chars <= self.chars):
            return False
        self._rows_open += 1
        self._chars_open += chars
        return True

    async def given(self) -> None:
        """Return when somebody gives room back."""
        self._given = asyncio.get_running_loop().create_future()
        await self._given

    def give(self, rows: int, chars: int) -> None:
        """Give back what so many rows took."""
        self._rows_open -= rows
        self._chars_open -= chars
        if self._given is not None and not self._given.done():
            self._given.set_result(None)
