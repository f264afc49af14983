"""A server that is paid by the hour."""

from __future__ import annotations

from llmbatch.budget import HourMeter
from llmbatch.types import Provider, Reply, Request


class Metered:
    """Tells the meter that a call leaves. Raises BudgetReached when its time may not fit.

    Stands inside the limits: time that a call waits for a permit is not its own.
    """

    def __init__(self, inner: Provider, meter: HourMeter) -> None:
        self._inner = inner
        self._meter = meter

    async def call(self, request: Request) -> Reply:
        """Ask."""
        self._meter.begin()
        return await self._inner.call(request)

    async def close(self) -> None:
        """Close the provider."""
        await self._inner.close()
