"""The driver's end of one worker: what it has in hand, and what is said between them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from llmbatch import __version__
from llmbatch.engines.ray.calls import Call, Calls, Open, Unsent
from llmbatch.engines.ray.link import Gone, Link
from llmbatch.engines.ray.messages import (
    Answered,
    Asked,
    Ended,
    Failed,
    Heard,
    Kit,
    Lease,
    Name,
    Permit,
    Stored,
    ToDriver,
    ToWorker,
    Turned,
    Withdrawn,
    sendable,
)
from llmbatch.errors import Decision, Stop, StorageError
from llmbatch.halt import Halt
from llmbatch.limits import RetryBudget
from llmbatch.types import Provider, Reply, Request

_SILENT_S = 60.0  #: a worker that said nothing for so long is taken to be gone


class GivenBack(Exception):
    """A worker was lost before a request's last word."""

    def __init__(self, used: int, fault: Decision | None) -> None:
        super().__init__(used)
        self.used = used  #: attempts that are known to be used
        self.fault = fault  #: of the last of them


@dataclass(frozen=True, slots=True)
class Desk:
    """What the members of a fleet share."""

    accounted: Provider  #: limits, budget and ledger around ``calls``
    calls: Calls
    retries: RetryBudget
    halt: Halt
    heard: Callable[[Heard], None]  #: told whatever a worker says, after it was dealt with


class Member:
    """One worker, from its start to its end. ``begin`` and ``live`` once each; ``ask`` in between."""

    def __init__(self, link: Link, desk: Desk, window_s: float) -> None:
        self.hedges = 0
        self.answered = 0  #: requests
        self.promised = 0  #: requests that are about to come
        self._link = link
        self._desk = desk
        self._window_s = window_s
        self._next = 0
        self._open: dict[int, Open] = {}
        self._outbox: list[tuple[ToWorker, Call | None]] = []
        self._something = asyncio.Event()
        self._is_gone = False

    @property
    def load(self) -> int:
        """Requests in hand, or about to be."""
        return len(self._open) + self.promised

    async def begin(self, kit: Kit) -> str | None:
        """Start the worker. Returns why it cannot work, if so. Raises Gone."""
        greeting = await self._link.open(kit)
        if greeting.version != __version__:
            return f"llmbatch is {greeting.version} there, and {__version__} here"
        return greeting.fault

    async def ask(self, request: Request) -> Reply:
        """Lease a request; returns or raises its last word. Raises GivenBack when the worker is lost."""
        self.promised -= 1
        if self._is_gone:
            raise GivenBack(request.attempts_used, None)
        self._next = number = self._next + 1
        opened = self._open[number] = Open.of(request)
        if not request.attempts_used:
            self._desk.retries.first_attempt(time.monotonic())
        self._take_up((number, request.attempts_used), Lease(number, request))
        try:
            return await opened.done
        finally:
            del self._open[number]

    def say(self, message: ToWorker, lets_go: Call | None = None) -> None:
        """Say it with the next words."""
        self._outbox.append((message, lets_go))
        self._something.set()

    async def live(self) -> None:
        """Talk and listen until the worker is lost; then give back what it had in hand. Raises Gone."""
        talk = asyncio.create_task(self._talk())
        try:
            await self._listen()
        except TimeoutError:
            raise Gone(f"silent for {_SILENT_S:.0f} s") from None
        finally:
            talk.cancel()
            await asyncio.wait((talk,))

    def kill(self) -> None:
        """End the worker now."""
        self._link.kill()

    async def give_back(self, why: str) -> None:
        """The worker is no more: settle its calls, then let whoever asked know."""
        self._is_gone = True
        calls = [call for opened in self._open.values() for call in opened.calls.values()]
        for call in calls:
            call.lose(why)
        if tasks := [call.task for call in calls if call.task is not None]:
            await asyncio.wait(tasks)
        for opened in list(self._open.values()):
            if opened.replies:  # paid and stored; only the last word was lost
                opened.end(min(opened.replies.values(), key=lambda reply: reply.seq))
            else:
                opened.end(opened.stop or self._desk.halt.reason or GivenBack(opened.used, opened.fault))

    # --- calls -----------------------------------------------------------------------------------------------------

    def _take_up(self, name: Name, let_go: Lease | Permit) -> None:
        """Take a call through limits and ledger; ``let_go`` is what the worker then hears."""
        opened = self._open[name[0]]

        def goes(call: Call) -> None:
            opened.leased = True
            self.say(let_go, call)

        request = opened.request
        if request.attempts_used != name[1]:
            request = replace(request, attempts_used=name[1])
        loop = asyncio.get_running_loop()
        call = opened.calls[name[1]] = Call(request, goes, loop.create_future())
        call.task = loop.create_task(self._carry(name, opened, call))

    async def _carry(self, name: Name, opened: Open, call: Call) -> None:
        """Carry a call through limits and ledger, and tell the worker how that ended."""
        desk = self._desk
        try:
            if name[1] > opened.begun:  # a retry or a hedge, which the run's retry budget pays for
                opened.begun = name[1]
                await desk.halt.sleep(desk.retries.take(time.monotonic()))
            with desk.calls.expecting(call):
                reply = await desk.accounted.call(call.request)
            opened.stored(name[1] + 1, reply)
            self.say(Stored(name, reply.seq))
        except Unsent:
            pass
        except Decision as fault:
            if call.let_go_at is None:
                self._turn(name, opened, fault)
            else:
                opened.stored(name[1] + 1, fault)
                self.say(Stored(name, None))
        except (Stop, StorageError) as stop:
            opened.stop = stop
            self._turn(name, opened, stop)
        except Exception as bug:  # noqa: BLE001 - it must reach whoever asked
            opened.end(bug)
        finally:
            del opened.calls[name[1]]

    def _turn(self, name: Name, opened: Open, fault: Decision | Stop | StorageError) -> None:
        """A call does not go; the worker needs to hear of it only if it knows of the request."""
        if opened.leased:
            self.say(Turned(name, sendable(fault)))
        else:
            opened.end(fault)

    # --- words -----------------------------------------------------------------------------------------------------

    async def _talk(self) -> None:
        """Tell what there is to tell, a window's worth at a time, in order."""
        while True:
            await self._something.wait()
            await asyncio.sleep(self._window_s)
            said, self._outbox = self._outbox, []
            self._something.clear()
            for _, call in said:
                if call is not None:
                    call.told = True
            try:
                await self._link.tell([message for message, _ in said])
            except Gone:
                return  # who listens hears of it too

    async def _listen(self) -> None:
        while True:
            async with asyncio.timeout(_SILENT_S):
                heard = await self._link.hear()
            self.hedges = heard.hedges
            for message in heard.messages:
                self._take(message)
            self._desk.heard(heard)

    def _take(self, message: ToDriver) -> None:
        match message:
            case Asked():
                self._take_up(message.call, Permit(message.call))
            case Withdrawn():
                if (call := self._open[message.call[0]].calls.get(message.call[1])) is not None:
                    call.withdraw()
            case Ended():
                self._open[message.call[0]].calls[message.call[1]].end(message.came)
            case Answered():
                opened = self._open[message.number]
                self.answered += 1
                opened.end(replace(opened.replies[message.seq], number=message.attempts))
            case Failed():
                opened = self._open[message.number]
                why = message.fault or opened.stop or self._desk.halt.reason
                opened.end(why or RuntimeError("a worker stopped a request, and nobody told it to"))
