"""The tier that calls go at, which may change while they wait for it."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from dataclasses import replace

from llmbatch.errors import Unavailable
from llmbatch.limits import backoff
from llmbatch.types import Provider, Reply, Request

_SLOWEST = 6  #: refusals after which the pauses before the next try grow no more: about half a minute


class Switch:
    """At which tier calls go now: standard, or flex; and whether a row that flex refuses waits or goes at standard."""

    def __init__(self) -> None:
        self.flex = False
        self.fallback = True
        self.answered = 0  #: flex calls so far
        self.refused = 0
        self._over = False
        self._changed = asyncio.Event()

    def go(self, *, flex: bool, fallback: bool) -> None:
        """Calls go so from now on; those that wait for flex are woken when that changes."""
        changed = (flex, fallback) != (self.flex, self.fallback) or self._over
        self.flex, self.fallback, self._over = flex, fallback, False
        if changed:
            self._wake()

    def end(self) -> None:
        """Nobody waits for flex any longer."""
        self._over = True
        self._wake()

    @property
    def waits(self) -> bool:
        """Whether calls that flex refuses are made again."""
        return self.flex and not self._over

    async def pause(self, seconds: float) -> bool:
        """Wait before the next try; whether something changed meanwhile."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._changed.wait()
        return not self.waits or self.fallback

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


class Switched:
    """Asks at the switch's tier. A row that flex refuses keeps its slot while it waits, so that no limit sees a fault.

    One that goes at the standard tier instead stands in line for it anew: it is one more request. Stands where Tiered
    stands for a tier that never changes.
    """

    def __init__(self, inner: Provider, switch: Switch) -> None:
        self._inner = inner
        self._switch = switch
        self._refused: set[str] = set()  # keys on their way to the standard tier
        self._rng = random.Random()

    async def call(self, request: Request) -> Reply:
        """Ask; at flex until it has capacity. Raises Unavailable, not sent, when the row is to go another way."""
        switch, refusals = self._switch, 0
        if not switch.flex or request.key in self._refused:
            self._refused.discard(request.key)
            return await self._inner.call(request)
        while True:
            try:
                reply = await self._inner.call(replace(request, tier="flex"))
            except Unavailable as error:
                switch.refused += 1
                refusals += 1
                if switch.fallback:
                    self._refused.add(request.key)
                elif switch.waits and not await switch.pause(backoff(min(refusals, _SLOWEST), self._rng)):
                    continue
                error.sent = False
                raise
            switch.answered += 1
            return reply

    async def close(self) -> None:
        """Close the provider."""
        await self._inner.close()
