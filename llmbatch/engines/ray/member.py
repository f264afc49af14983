"""The driver's end of one worker: what it has in hand, and what is said between them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

from llmbatch import __version__
from llmbatch.engines.ray.calls import Call, Open
from llmbatch.engines.ray.desk import Desk
from llmbatch.engines.ray.link import Gone, Link
from llmbatch.engines.ray.messages import (
    Answered,
    Asked,
    Ended,
    Failed,
    Heard,
    Kit,
    Lease,
    ToDriver,
    ToWorker,
    Withdrawn,
)
from llmbatch.errors import Decision
from llmbatch.halt import Halt

_SILENT_S = 60.0  #: a worker that said nothing for so long is taken to be gone


class GivenBack(Exception):
    """A worker was lost before a request's last word."""

    def __init__(self, used: int, fault: Decision | None) -> None:
        super().__init__(used)
        self.used = used  #: attempts that are known to be used
        self.fault = fault  #: of the last of them


class Member:
    """One worker, from its start to its end: ``begin``, then ``live``, then ``give_back``.

    ``heard`` is told whatever the worker says, after it was dealt with.
    """

    def __init__(self, link: Link, desk: Desk, halt: Halt, window_s: float, heard: Callable[[Heard], None]) -> None:
        self.hedges = 0
        self._link = link
        self._desk = desk
        self._halt = halt
        self._heard = heard
        self._window_s = window_s
        self._next = 0
        self._open: dict[int, Open] = {}
        self._outbox: list[tuple[ToWorker, Call | None]] = []
        self._something = asyncio.Event()

    @property
    def load(self) -> int:
        """Requests in hand."""
        return len(self._open)

    async def begin(self, kit: Kit) -> str | None:
        """Start the worker. Returns why it cannot work, if so. Raises Gone."""
        greeting = await self._link.open(kit)
        if greeting.version != __version__:
            return f"llmbatch is {greeting.version} there, and {__version__} here"
        return greeting.fault

    def lease(self, opened: Open, call: Call) -> None:
        """Take a request on; its first call may go."""
        self._next += 1
        opened.worker, opened.number = self, self._next
        self._open[self._next] = opened
        self.say(Lease(self._next, call.request), call)

    def release(self, opened: Open) -> None:
        """A request has its last word."""
        del self._open[opened.number]

    def say(self, message: ToWorker, lets_go: Call | None = None) -> None:
        """Say it with the next words."""
        self._outbox.append((message, lets_go))
        self._something.set()

    async def live(self) -> None:
        """Talk and listen until the worker is lost. Raises Gone, or what else ended it."""
        both = [asyncio.create_task(self._talk()), asyncio.create_task(self._listen())]
        try:
            ended, _ = await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            ended.pop().result()
        except TimeoutError:
            raise Gone(f"silent for {_SILENT_S:.0f} s") from None
        finally:
            for each in both:
                each.cancel()
            await asyncio.gather(*both, return_exceptions=True)

    def kill(self) -> None:
        """End the worker now."""
        self._link.kill()

    async def give_back(self, why: str) -> None:
        """The worker is no more: settle its calls, then let whoever asked know."""
        calls = [call for opened in self._open.values() for call in opened.calls.values()]
        for call in calls:
            call.lose(why)
        if tasks := [call.task for call in calls if call.task is not None]:
            await asyncio.wait(tasks)
        for opened in list(self._open.values()):
            if opened.replies:  # paid and stored; only the last word was lost
                opened.end(min(opened.replies.values(), key=lambda reply: reply.seq))
            else:
                opened.end(opened.stop or self._halt.reason or GivenBack(opened.used, opened.fault))

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
            await self._link.tell([message for message, _ in said])

    async def _listen(self) -> None:
        while True:
            async with asyncio.timeout(_SILENT_S):
                heard = await self._link.hear()
            self.hedges = heard.hedges
            for message in heard.messages:
                self._take(message)
            self._heard(heard)

    def _take(self, message: ToDriver) -> None:
        match message:
            case Answered() | Failed():
                if (opened := self._open.get(message.number)) is not None:
                    self._last_word(opened, message)
            case Asked(call=(number, used)):
                if (opened := self._open.get(number)) is not None:
                    self._desk.take_up(opened, used)
            case Withdrawn(call=(number, used)) | Ended(call=(number, used)):
                opened = self._open.get(number)
                call = opened.calls.get(used) if opened is not None else None
                if call is not None and isinstance(message, Ended):
                    call.end(message.came)
                elif call is not None:
                    call.withdraw()

    def _last_word(self, opened: Open, word: Answered | Failed) -> None:
        if isinstance(word, Answered):
            opened.end(replace(opened.replies[word.seq], number=word.attempts))
        else:
            why = word.fault or opened.stop or self._halt.reason
            opened.end(why or RuntimeError("a worker stopped a request, and nobody told it to"))
