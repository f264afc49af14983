"""A cheaper service tier, and the way back from it where it has no capacity."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from llmbatch.errors import Unavailable
from llmbatch.types import Provider, Reply, Request


class Tiered:
    """Asks at a service tier. A call that the tier has no capacity for is no attempt, and is not billed.

    With ``fallback`` such a row is asked at the standard tier instead, in the same slot; without, it waits like any
    429. Stands inside the limits, so that a refusal of the tier that was mended at once pauses nobody.
    """

    def __init__(self, inner: Provider, tier: str, *, fallback: bool, note: Callable[[str], None]) -> None:
        self._inner = inner
        self._tier = tier
        self._fallback = fallback
        self._note = note

    async def call(self, request: Request) -> Reply:
        """Ask at the tier, else at the standard tier."""
        try:
            return await self._inner.call(replace(request, tier=self._tier))
        except Unavailable:
            if not self._fallback:
                raise
        self._note(f"tier {self._tier} had no capacity at times: rows were asked at the standard tier then")
        return await self._inner.call(request)

    async def close(self) -> None:
        """Close the provider."""
        await self._inner.close()
