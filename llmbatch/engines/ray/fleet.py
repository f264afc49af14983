"""All workers together, as one provider: the live engine asks it, and need not know how many answer."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace

from llmbatch.engines.ray.calls import Open
from llmbatch.engines.ray.desk import Desk
from llmbatch.engines.ray.link import Gone, Link
from llmbatch.engines.ray.member import GivenBack, Member
from llmbatch.engines.ray.messages import Answered, Cut, Halted, Heard, Kit, LastRows
from llmbatch.errors import ProviderDown, Stop, StorageError, Transient
from llmbatch.providers import wrap
from llmbatch.types import Reply, Request

_CUT_S = 5.0  #: in which a worker must have ended its calls once they were cut; a dead machine says nothing
_NOBODY_S = 120.0  #: for which there may be no worker at all
_FUTILE = 3  #: workers lost in a row, for each of the fleet, and no answer between them


@dataclass(frozen=True, slots=True)
class Plan:
    """How many workers, and how much each has in hand."""

    workers: int
    in_flight: int  #: requests leased to a worker at most


class LastRow(wrap.Tail):
    """The end of the run, told to the workers too."""

    def __init__(self, tell: Callable[[], None]) -> None:
        super().__init__()
        self._tell = tell

    def begin(self) -> None:
        """Every row of the run is on its way."""
        super().begin()
        self._tell()


class Fleet:
    """Workers behind one ``call``. A lost worker is replaced; its unanswered requests go to the others.

    Raises what the provider raises; ProviderDown when workers are lost as fast as they start.
    """

    def __init__(self, recruit: Callable[[], Link], kit: Kit, plan: Plan, parts: wrap.Parts) -> None:
        self.tail = LastRow(self._last_rows)
        self._recruit = recruit
        self._kit = kit
        self._plan = plan
        self._parts = parts
        self._desk = Desk(parts, self._choose)
        self._members: list[Member] = []  #: those that work
        self._open = 0  #: requests, at workers or waiting for the limits
        self._waiting: deque[asyncio.Future[None]] = deque()  #: requests for which all workers together have no room
        self._freed: asyncio.Future[None] | None = None  #: for requests that may go, and find no worker
        self._lost_in_a_row = 0
        self._hedges_of_the_lost = 0
        self.structured_output: str | None = None
        self._noted: set[str] = set()
        self._patience = asyncio.get_running_loop().call_later(_NOBODY_S, self._look_for_anybody)
        parts.halt.listen(self._halted)
        self._tasks = [asyncio.create_task(self._keep()) for _ in range(plan.workers)]

    async def call(self, request: Request) -> Reply:
        """Bring a request to its last word, whoever is lost on the way."""
        eldest = False
        while True:
            await self._room(eldest)
            opened = Open.of(request)
            self._desk.begin(opened)
            try:
                return await opened.done
            except GivenBack as back:
                if back.used >= self._parts.limits.max_attempts:
                    raise back.fault or Transient("the worker is gone", failure="connection") from None
                request, eldest = replace(request, attempts_used=back.used), True
            finally:
                if isinstance(opened.worker, Member):
                    opened.worker.release(opened)
                self._open -= 1
                self._let_in()

    def cut(self) -> None:
        """End every call in flight now. A worker that has not done so shortly after is taken to be gone."""
        for member in self._members:
            member.say(Cut())
        asyncio.get_running_loop().call_later(_CUT_S, self._kill_the_busy)

    async def close(self) -> None:
        """End the workers."""
        self._patience.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks)
        await self._desk.close()

    # --- workers ---------------------------------------------------------------------------------------------------

    async def _keep(self) -> None:
        """Keep one worker alive: when it is lost, start another."""
        while not self._parts.halt:
            member = Member(self._recruit(), self._desk, self._parts.halt, self._kit.window_s, self._heard)
            try:
                await self._employ(member)
            except Exception as error:  # noqa: BLE001 - whatever ends a worker, its rows go to others
                why = str(error) if isinstance(error, Gone) else f"{type(error).__name__}: {error}"
                await self._lost(member, why)
            finally:
                member.kill()

    async def _employ(self, member: Member) -> None:
        """Let a worker work until it is lost. Raises Gone."""
        fault = await member.begin(self._kit)
        if fault is not None:
            self._parts.halt.stop(ProviderDown(f"a worker cannot work: {fault}"))
            return
        self._members.append(member)
        if self.tail.begun:
            member.say(LastRows())
        self._let_in()
        await member.live()

    async def _lost(self, member: Member, why: str) -> None:
        if member in self._members:
            self._members.remove(member)
        self._patience.cancel()
        self._patience = asyncio.get_running_loop().call_later(_NOBODY_S, self._look_for_anybody)
        self._parts.note(f"a worker was lost ({why})" + ("" if self._parts.halt else "; its rows go to others"))
        await member.give_back(why)
        self._hedges_of_the_lost += member.hedges
        self._lost_in_a_row += 1
        if self._lost_in_a_row >= _FUTILE * self._plan.workers:
            self._parts.halt.stop(ProviderDown(f"workers are lost as fast as they start, the last one: {why}"))

    def _look_for_anybody(self) -> None:
        """The cluster has had time to start a worker: stop the run if it did not."""
        if not self._members:
            words = f"no worker could be started for {_NOBODY_S:.0f} s"
            self._parts.halt.stop(ProviderDown(words, hint="has the cluster room for one? See `ray status`"))

    def _kill_the_busy(self) -> None:
        for member in self._members:
            if member.load:
                member.kill()

    # --- requests --------------------------------------------------------------------------------------------------

    async def _room(self, eldest: bool) -> None:
        """Wait until all workers together have room for one more. Raises the reason why the run stops."""
        self._parts.halt.check()
        if self._waiting or self._open >= len(self._members) * self._plan.in_flight:
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            if eldest:
                self._waiting.appendleft(turn)
            else:
                self._waiting.append(turn)
            await turn
        else:
            self._open += 1

    async def _choose(self) -> Member:
        """The worker with the least in hand, now that a request may go; there is one unless some were just lost."""
        while (member := self._freest()) is None:
            self._parts.halt.check()
            if self._freed is None:
                self._freed = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._freed)
        return member

    def _freest(self) -> Member | None:
        member = min(self._members, key=lambda member: member.load, default=None)
        return member if member is not None and member.load < self._plan.in_flight else None

    def _let_in(self) -> None:
        """Give room to those who wait."""
        self._look_again()
        while self._waiting and self._open < len(self._members) * self._plan.in_flight:
            turn = self._waiting.popleft()
            if not turn.done():
                self._open += 1
                turn.set_result(None)

    def _look_again(self) -> None:
        freed, self._freed = self._freed, None
        if freed is not None:
            freed.set_result(None)

    # --- words -----------------------------------------------------------------------------------------------------

    def _heard(self, heard: Heard) -> None:
        for note in heard.notes:
            if note not in self._noted:  # every worker finds it out by itself
                self._noted.add(note)
                self._parts.note(note)
        if any(isinstance(message, Answered) for message in heard.messages):
            self._lost_in_a_row = 0
        if heard.structured_output is not None:
            self.structured_output = heard.structured_output
        self.tail.hedges = self._hedges_of_the_lost + sum(each.hedges for each in self._members)

    def _last_rows(self) -> None:
        for member in self._members:
            member.say(LastRows())

    def _halted(self, reason: Stop | StorageError) -> None:
        for member in self._members:
            member.say(Halted(reason.message))
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_exception(reason)
        self._waiting.clear()
        self._look_again()
