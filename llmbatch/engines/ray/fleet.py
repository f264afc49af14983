"""All workers together, as one provider: the live engine asks it, and need not know how many answer."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace

from llmbatch.engines.ray.calls import Calls
from llmbatch.engines.ray.link import Gone, Link
from llmbatch.engines.ray.member import Desk, GivenBack, Member
from llmbatch.engines.ray.messages import Cut, Halted, Heard, Kit, LastRows
from llmbatch.errors import ProviderDown, Stop, StorageError, Transient
from llmbatch.providers import wrap
from llmbatch.types import Reply, Request

_CUT_S = 5.0  #: in which a worker must have ended its calls once they were cut; a dead machine says nothing
_NOBODY_S = 120.0  #: for which there may be no worker at all
_FUTILE = 3  #: workers in a row, for each of the fleet, that were lost before they answered anything


@dataclass(frozen=True, slots=True)
class Plan:
    """How many workers, and how much each has in hand."""

    workers: int
    in_flight: int  #: requests leased to a worker at most
    window_s: float  #: messages are gathered for so long


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
        calls = Calls()
        self.tail = LastRow(self._last_rows)
        self._recruit = recruit
        self._kit = kit
        self._plan = plan
        self._parts = parts
        self._desk = Desk(wrap.accounted(calls, parts), calls, parts.retries, parts.halt, self._heard)
        self._members: list[Member] = []  #: those that work
        self._waiting: deque[asyncio.Future[Member]] = deque()  #: requests that no worker has room for
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
            member = await self._with_room(eldest)
            try:
                return await member.ask(request)
            except GivenBack as back:
                if back.used >= self._parts.limits.max_attempts:
                    raise back.fault or Transient("the worker is gone", failure="connection") from None
                request, eldest = replace(request, attempts_used=back.used), True
            finally:
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
        await self._desk.accounted.close()

    # --- workers ---------------------------------------------------------------------------------------------------

    async def _keep(self) -> None:
        """Keep one worker alive: when it is lost, start another."""
        while not self._parts.halt:
            member = Member(self._recruit(), self._desk, self._plan.window_s)
            try:
                await self._employ(member)
            except Gone as gone:
                self._parts.note(f"a worker was lost ({gone}); its rows go to others")
                self._count(member, str(gone))
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
        try:
            await member.live()
        except Gone as gone:
            self._members.remove(member)
            self._patience.cancel()
            self._patience = asyncio.get_running_loop().call_later(_NOBODY_S, self._look_for_anybody)
            await member.give_back(str(gone))
            raise

    def _count(self, member: Member, why: str) -> None:
        self._hedges_of_the_lost += member.hedges
        self._lost_in_a_row = 0 if member.answered else self._lost_in_a_row + 1
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

    async def _with_room(self, eldest: bool) -> Member:
        """Room at the worker with the least in hand. Raises the reason why the run stops."""
        self._parts.halt.check()
        if not self._waiting and (member := self._freest()) is not None:
            member.promised += 1
            return member
        turn: asyncio.Future[Member] = asyncio.get_running_loop().create_future()
        if eldest:
            self._waiting.appendleft(turn)
        else:
            self._waiting.append(turn)
        return await turn

    def _freest(self) -> Member | None:
        member = min(self._members, key=lambda member: member.load, default=None)
        return member if member is not None and member.load < self._plan.in_flight else None

    def _let_in(self) -> None:
        """Give room to those who wait."""
        while self._waiting and (member := self._freest()) is not None:
            turn = self._waiting.popleft()
            if not turn.done():
                member.promised += 1
                turn.set_result(member)

    # --- words -----------------------------------------------------------------------------------------------------

    def _heard(self, heard: Heard) -> None:
        for note in heard.notes:
            if note not in self._noted:  # every worker finds it out by itself
                self._noted.add(note)
                self._parts.note(note)
        if heard.structured_output is not None:
            self.structured_output = heard.structured_output
        self.tail.hedges = self._hedges_of_the_lost + sum(each.hedges for each in self._members)

    def _last_rows(self) -> None:
        for member in self._members:
            member.say(LastRows())

    def _halted(self, reason: Stop | StorageError) -> None:
        for member in self._members:
            member.say(Halted(reason.message))
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_exception(reason)
