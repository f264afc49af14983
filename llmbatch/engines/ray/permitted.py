"""The worker's side of the limits: a call goes when the driver lets it go, and counts when the driver has stored it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

from llmbatch.engines.ray.messages import Asked, Ended, Lease, Name, Permit, Stored, ToDriver, Turned, Withdrawn
from llmbatch.errors import Decision
from llmbatch.types import Provider, Reply, Request


class Permitted:
    """Asks the driver before each call but a lease's first, and tells it what came. ``say`` carries to the driver."""

    def __init__(self, inner: Provider, say: Callable[[ToDriver], None]) -> None:
        self._inner = inner
        self._say = say
        self._numbers: dict[str, int] = {}  #: leases, by key: the engine asks for a key once at a time
        self._first: set[Name] = set()  #: calls that came with their permit
        self._waiting: dict[Name, asyncio.Future[int | None]] = {}

    def lease(self, lease: Lease) -> None:
        """Take a request on."""
        self._numbers[lease.request.key] = lease.number
        self._first.add((lease.number, lease.request.attempts_used))

    def release(self, lease: Lease) -> None:
        """Its last word is said."""
        del self._numbers[lease.request.key]
        self._first.discard((lease.number, lease.request.attempts_used))

    def hear(self, said: Permit | Stored | Turned) -> None:
        """Hear the driver's answer to a call; nobody may wait for it any more."""
        waiting = self._waiting.get(said.call)
        if waiting is None or waiting.done():
            return
        if isinstance(said, Turned):
            waiting.set_exception(said.fault)
        else:
            waiting.set_result(said.seq if isinstance(said, Stored) else None)

    async def call(self, request: Request) -> Reply:
        """Wait for a permit, ask, wait until it is stored. Raises what the driver says instead."""
        name = self._numbers[request.key], request.attempts_used
        try:
            await self._permit(name)
            reply = await self._inner.call(request)
            came: Reply | Decision = replace(reply, headers=dict(reply.headers))  # a read-only view does not travel
        except Decision as fault:
            if not fault.sent:  # the driver's own
                raise
            came = fault
        except asyncio.CancelledError:
            self._say(Withdrawn(name))
            raise
        seq = await self._told(name, Ended(name, came))
        if isinstance(came, Decision):
            raise came
        assert seq is not None
        return replace(came, number=request.attempts_used + 1, seq=seq)

    async def close(self) -> None:
        """Close the provider."""
        await self._inner.close()

    async def _permit(self, name: Name) -> None:
        if name in self._first:
            self._first.remove(name)
        else:
            await self._told(name, Asked(name))

    async def _told(self, name: Name, message: Asked | Ended) -> int | None:
        """Say something of a call, and wait for the answer."""
        self._waiting[name] = asyncio.get_running_loop().create_future()
        self._say(message)
        try:
            return await self._waiting[name]
        finally:
            del self._waiting[name]
