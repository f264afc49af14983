"""The engine of a deadline: batches, flex and standard calls over the same rows, as the schedule decides.

One thing at a time asks rows: the batch engine, or the live one. Between them stands what is known of the rows, a byte
each. The schedule (pure) hears what happens and says which is next; this module carries it out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from llmbatch import schedule
from llmbatch.engines import live
from llmbatch.engines.batch_api import Night
from llmbatch.engines.marking import Marking, Twice
from llmbatch.errors import NextTier, Stop, StorageError
from llmbatch.halt import Part
from llmbatch.providers.switch import Switch
from llmbatch.schedule import BatchSeen, Decided, Event, State, Terms
from llmbatch.tally import BatchState

_PERIOD_S = 1.0  #: between two looks at time and speed
_PARTS = 200.0  #: of the time left, if that makes shorter ones
_MEASURED = 0.01, 10, 50  #: part of the rows that are asked to see how fast live calls are; at least, at most
_FLEX_WINDOW = 10  #: looks over which the speed of flex calls is taken
_STUCK_S = 10.0  #: after which a part that should end is ended


@dataclass(frozen=True, slots=True)
class Auto:
    """What it takes beside the two engines."""

    batched: Callable[[Conductor], Night]  #: the batch engine's night; the conductor is its hooks
    live: live.Engine
    halt: Part
    switch: Switch
    terms: Callable[[], Terms]
    speed: Callable[[], tuple[float, float] | None]  #: rows a second of standard calls; seconds to keep free at the end
    clock: Callable[[], float]
    keep: Callable[[State], Awaitable[None]]  #: stores the state
    hold: Callable[[bool], None]  #: whether what open batches may cost is kept from calls
    reopen: Callable[[], None]  #: lets calls go again that the end of a part turned away
    hurry: Callable[[bool], None]  #: whether flex calls, those in flight too, get no more time than standard ones
    note: Callable[[str], None]
    detach: bool = False
    before: tuple[Decided, ...] = ()
    known_speed: float | None = None


class Conductor:
    """Leads one run."""

    def __init__(self, auto: Auto) -> None:
        self.auto = auto
        self.twice = Twice()
        self.night = auto.batched(self)
        auto.halt.listen(lambda _: auto.switch.end())  # else calls that wait for flex would keep a part from its end
        self.state: State | None = None
        self.waits = False  #: batches are out, and nobody waits for them
        self._doing = ""
        self._task: asyncio.Future[Any] | None = None
        self._late = False  # a cancelled batch has ended while calls are made
        self._seen: list[int] = []  # flex calls answered, at the last looks
        self._refused = 0
        self._kept: asyncio.Future[None] | None = None

    async def answer(self) -> None:
        """Bring every row to its outcome, or stop."""
        auto = self.auto
        try:
            await self._do("open", self._begin())
            while self._left and not auto.halt and not self.waits:
                await self._next()
        except Stop as stop:
            auto.halt.stop(stop)
            await self.night.settle()
        except StorageError as error:
            auto.halt.stop(error)
        if self._kept is not None:
            await self._kept

    def cut(self) -> None:
        """End what waits for the provider's batches."""
        if self._task is not None and self._doing not in ("live", "measure"):
            self._task.cancel()

    @property
    def open_requests(self) -> int:
        """Of batches that were cancelled and have not ended: they may be paid twice."""
        closes = self.state is not None and any(one.closes for one in self.state.decided)
        return self.night.flight.requests if closes else 0

    # --- one part after another --------------------------------------------------------------------------------

    async def _begin(self) -> None:
        auto = self.auto
        await self.night.open()
        left = await self.night.take()
        self._mark(schedule.begin(auto.terms(), auto.clock(), left, speed=auto.known_speed,
                                  batches=self._batches(), before=auto.before))  # fmt: skip

    async def _next(self) -> None:
        """Do what the state asks for, until it asks for something else."""
        match doing(self._now):
            case "measure":
                await self._do("measure", self._measure())
            case "closing":
                await self._do("closing", self._close())
            case "beside":
                await self._do("beside", self.night.go(keep=self._now.beside, wait=False))
                await self._do("beside", self._live(self._now.beside))
                await self._do("take", self.night.take())
                self._tell(schedule.BatchesSeen(self.auto.clock(), self._left, self._batches()))
                self._tell(schedule.Beside(self.auto.clock(), self._left))
            case "batch":
                await self._do("batch", self.night.go(wait=not self.auto.detach))
                self.waits = self.auto.detach and bool(self.night.flight) and doing(self._now) == "batch"
            case _:
                await self._do("live", self._live(None))
                if self._late or self.night.flight:
                    self._late = False
                    await self._do("take", self.night.take())

    async def _do(self, what: str, work: Awaitable[Any]) -> None:
        """One part, with an eye on the time. A part that does not end when it should is ended: it may die anywhere."""
        auto, self._doing = self.auto, what
        self._task = task = asyncio.ensure_future(work)
        watch = asyncio.ensure_future(self._watch())
        try:
            ended = asyncio.ensure_future(auto.halt.wait())
            await asyncio.wait({task, ended}, return_when=asyncio.FIRST_COMPLETED)
            if not task.done() and isinstance(auto.halt.reason, NextTier) and what not in ("live", "measure"):
                await asyncio.wait({task}, timeout=min(_STUCK_S, self._period * 10))
                task.cancel()
            ended.cancel()
            with suppress(NextTier):
                await task
        except asyncio.CancelledError:
            if not auto.halt:
                raise
        finally:
            watch.cancel()
            self._task = None
            auto.halt.rearm()
            auto.reopen()

    async def _measure(self) -> None:
        part, least, most = _MEASURED
        some = min(most, max(least, round(self._left * part)), self._left)
        began = self.auto.clock()
        await self._live(some)
        took = max(1e-3, self.auto.clock() - began)
        rows_per_s, reserve_s = self.auto.speed() or (some / took, None)
        switch = self.auto.switch
        if switch.answered or switch.refused:
            self._tell(schedule.FlexSeen(self.auto.clock(), switch.answered / took))
        self._tell(schedule.Measured(self.auto.clock(), rows_per_s, reserve_s))

    async def _live(self, most: int | None) -> None:
        """Ask live: so many rows, or all that are left."""
        self._set_switch()
        self.auto.hold(True)
        rows = self.night.unsettled()
        batches = asyncio.ensure_future(self._look_after_batches()) if most is None else None
        try:
            engine = replace(self.auto.live, observer=Marking(self.auto.live.observer, self.night.rows))
            await live.answer(engine, rows if most is None else islice(rows, most))
        finally:
            self.auto.switch.end()
            self.auto.hold(False)
            if batches is not None:
                batches.cancel()

    async def _close(self) -> None:
        await self.night.close()
        self._tell(schedule.Closed(self.auto.clock(), self._left))

    async def _look_after_batches(self) -> None:
        """While calls are made: fetch what cancelled batches did as soon as they have ended."""
        with suppress(Stop):  # of batches nobody can be asked about: when they are fetched, that is said
            while self.night.flight:
                await asyncio.sleep(self._period * 2)
                if await self.night.any_ended():
                    self._late = True
                    self.auto.halt.stop(NextTier("a cancelled batch has ended"))
                    return

    # --- what the schedule hears and says ----------------------------------------------------------------------

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(self._period)
            if self.state is None:
                continue
            if self._doing == "live":
                self._look_at_flex()
                if (found := self.auto.speed()) is not None:
                    self._tell(schedule.Measured(self.auto.clock(), *found))
            self._tell(schedule.Tick(self.auto.clock(), self._left))
            if self._doing == "live" and not self.auto.halt:
                self._set_switch()

    def watched(self, states: tuple[BatchState, ...]) -> None:
        """The batch engine looked at its batches."""
        if self.state is not None and self._doing == "batch":
            self._tell(schedule.BatchesSeen(self.auto.clock(), self._left, _seen(states)))

    def ended(self, seconds: float) -> None:
        """A batch has ended."""
        if self.state is not None and self._doing in ("batch", "closing"):
            event = schedule.BatchesSeen(self.auto.clock(), self._left, self.state.batches, (seconds,))
            self._tell(event)

    def another(self, left: int) -> None:
        """A further batch could go."""
        self._tell(schedule.Ready(self.auto.clock(), left))
        self.auto.halt.check()

    def _look_at_flex(self) -> None:
        switch = self.auto.switch
        self._seen = [*self._seen[-_FLEX_WINDOW:], switch.answered]
        answered, refused = self._seen[-1] - self._seen[0], switch.refused - self._refused
        self._refused = switch.refused
        if answered or refused:
            rows_per_s = answered / (self._period * max(1, len(self._seen) - 1))
            self._tell(schedule.FlexSeen(self.auto.clock(), rows_per_s))

    def _tell(self, event: Event) -> None:
        self._mark(schedule.step(self._now, event))

    def _mark(self, state: State) -> None:
        """Take a new state, and end the part that it has no use for."""
        before, self.state = self.state, state
        known = state.speed is not None and (before is None or before.speed is None)
        if before is None or before.decided != state.decided or known:
            self._keep()
        if before is not None and before.decided != state.decided:
            self.auto.note(f"tier {state.tier}: {state.decided[-1].reason}")
            if (before.tier, state.tier) == ("flex", "standard"):
                self.auto.hurry(True)
            elif (before.tier, state.tier) == ("standard", "flex"):
                self.auto.hurry(False)
        if self._doing in ("batch", "closing", "live") and doing(state) != self._doing:
            self.auto.halt.stop(NextTier(f"{state.tier} goes on"))

    def _keep(self) -> None:
        """Store the state, one after another, without waiting for it."""
        state, earlier = self._now, self._kept

        async def keep() -> None:
            if earlier is not None:
                await earlier
            try:
                await self.auto.keep(state)
            except StorageError as error:
                self.auto.halt.stop(error)

        self._kept = asyncio.ensure_future(keep())

    def _set_switch(self) -> None:
        state = self._now
        self.auto.switch.go(flex=state.tier == "flex", fallback=schedule.falls_back(state))

    @property
    def _now(self) -> State:
        assert self.state is not None
        return self.state

    @property
    def _left(self) -> int:
        return self.night.left

    @property
    def _period(self) -> float:
        if self.state is None:
            return _PERIOD_S
        return min(_PERIOD_S, max(0.05, (self.state.terms.deadline_at - self.auto.clock()) / _PARTS))

    def _batches(self) -> tuple[BatchSeen, ...]:
        return _seen(self.night.flight.states())


def doing(state: State) -> str:
    """Which part a state asks for: measure, closing, beside, batch or live."""
    if state.measuring:
        return "measure"
    if state.closing:
        return "closing"
    if state.tier != "batch":
        return "live"
    return "beside" if state.beside else "batch"


def _seen(states: tuple[BatchState, ...]) -> tuple[BatchSeen, ...]:
    return tuple(BatchSeen(one.made_at, one.requests, one.completed + one.failed) for one in states)
