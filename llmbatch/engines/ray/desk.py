"""Where calls that workers make go through the run's own limits, budget and ledger."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Protocol

from llmbatch.engines.ray.calls import Call, Open, Speaker, Unsent
from llmbatch.engines.ray.messages import Permit, Stored, Turned, sendable
from llmbatch.errors import Decision, Stop, StorageError
from llmbatch.providers import wrap
from llmbatch.types import Reply, Request


class Lessee(Speaker, Protocol):
    """A worker that takes requests on."""

    def lease(self, opened: Open, call: Call) -> None:
        """Take a request on; its first call may go."""


class Desk:
    """Stands in the provider's place within the wrappers of a run of one process: lets calls go, waits for their end.

    ``choose`` gives the worker for a request whose first call may go.
    """

    def __init__(self, parts: wrap.Parts, choose: Callable[[], Awaitable[Lessee]]) -> None:
        self._accounted = wrap.accounted(self, parts)
        self._retries = parts.retries
        self._halt = parts.halt
        self._choose = choose
        self._expected: dict[tuple[str, int], Call] = {}
        self._closing = False

    def begin(self, opened: Open) -> None:
        """Take a request's first call up."""
        if not opened.used:
            self._retries.first_attempt(time.monotonic())
        self.take_up(opened, opened.used)

    def take_up(self, opened: Open, used: int) -> None:
        """Take a call through limits and ledger, after so many attempts."""
        request = opened.request
        if request.attempts_used != used:
            request = replace(request, attempts_used=used)
        loop = asyncio.get_running_loop()
        call = opened.calls[used] = Call(opened, request, loop.create_future())
        call.task = loop.create_task(self._carry(opened, call))

    async def call(self, request: Request) -> Reply:
        """The limits let it go."""
        call = self._expected[request.key, request.attempts_used]
        worker = call.opened.worker
        if worker is None:
            lessee = await self._choose()
            call.let_go_at = time.monotonic()
            lessee.lease(call.opened, call)
        else:
            call.let_go_at = time.monotonic()
            worker.say(Permit(call.name), call)
        return await call.ended

    async def close(self) -> None:
        """Close the wrappers, which close this in turn."""
        if not self._closing:
            self._closing = True
            await self._accounted.close()

    async def _carry(self, opened: Open, call: Call) -> None:
        """Carry a call to its end, and tell the worker how that was."""
        used = call.request.attempts_used
        try:
            reply = await self._through(opened, call)
            opened.stored(used + 1, reply)
            self._tell(opened, Stored(call.name, reply.seq))
        except Unsent:
            pass
        except Decision as fault:
            if call.let_go_at is None:
                self._turn(call, fault)
            else:
                opened.stored(used + 1, fault)
                self._tell(opened, Stored(call.name, None))
        except (Stop, StorageError) as stop:
            opened.stop = stop
            self._turn(call, stop)
        except Exception as bug:  # noqa: BLE001 - it must reach whoever asked
            opened.end(bug)
        finally:
            del opened.calls[used]

    async def _through(self, opened: Open, call: Call) -> Reply:
        used = call.request.attempts_used
        if used > opened.begun:  # a retry or a hedge: the run's one retry budget pays
            opened.begun = used
            await self._halt.sleep(self._retries.take(time.monotonic()))
        name = call.request.key, used
        self._expected[name] = call
        try:
            return await self._accounted.call(call.request)
        finally:
            del self._expected[name]

    def _turn(self, call: Call, fault: Decision | Stop | StorageError) -> None:
        """A call does not go; a worker needs to hear of it only if it knows of the request."""
        if call.opened.worker is None:
            call.opened.end(fault)
        else:
            self._tell(call.opened, Turned(call.name, sendable(fault)))

    def _tell(self, opened: Open, message: Stored | Turned) -> None:
        if opened.worker is not None:
            opened.worker.say(message)
