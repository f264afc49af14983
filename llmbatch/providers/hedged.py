"""Stragglers: near the end of a run, a call that is far slower than its peers is asked again beside it."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, replace
from typing import TypeAlias

from llmbatch.errors import Decision, RateLimited, Stop
from llmbatch.halt import Halt
from llmbatch.limits import RetryBudget
from llmbatch.providers.timed import Flight, Latencies
from llmbatch.types import Provider, Reply, Request

_LOOK_S = 0.1  #: between two looks for stragglers
_SHORTEST_S = 1.0
_FACTOR = 3.0  #: how many times the p95 a call may take before it is hedged
_ENOUGH = 20  #: latencies before there is a p95 to speak of

_Came: TypeAlias = Reply | Decision | Stop  #: what comes of a call


@dataclass(slots=True)
class Tail:
    """The end of a run: the engine says when it begins, the hedger acts on it, the report reads how often."""

    begun: bool = False
    hedges: int = 0  #: calls sent beside another one for the same row

    def begin(self) -> None:
        """Every row of the run is on its way."""
        self.begun = True


def attempts_taken(fault: Decision) -> int:
    """Attempts that ended in a fault: a 429 is none, and a hedge that failed too (the fault's cause) is one more."""
    return sum(isinstance(e, Decision) and not isinstance(e, RateLimited) for e in (fault, fault.__cause__))


@dataclass(slots=True, eq=False)
class _Race:
    """A call and, when it became late, the hedge beside it."""

    request: Request
    first: Flight | None = None  #: None until the call is sent
    second: Flight | None = None  #: None until the hedge is sent
    hedge: asyncio.Task[_Came] | None = None


async def _torn_down(hedge: asyncio.Task[_Came]) -> None:
    """Leave nothing behind of a hedge, however its row ended."""
    if not hedge.done():  # the row is cancelled, as happens only with the whole run
        hedge.cancel()
        await asyncio.wait((hedge,))
    if not hedge.cancelled():
        hedge.exception()  # seen: asyncio reports one that nobody looked at as lost


class Hedged:
    """Asks a late call again, at most once a row, and returns the reply that comes first. Watches Timed.

    Late is a call that was sent more than 3 times the p95 of the run's latest latencies ago, and at least 1 s, while
    the run is in its tail and no row waits for its turn. A hedge is an attempt like others, so it needs one that
    is left of ``max_attempts``, a retry of the run's budget, and money, permit and time through the inner wrappers.
    The slower of two calls is cut short and recorded as possibly paid. One call a key at a time, as the engine asks.

    Raises what the inner provider raises. When both calls fail it is the first's fault, with the hedge's as its cause.
    """

    def __init__(
        self, inner: Provider, *, latencies: Latencies, tail: Tail, retries: RetryBudget, halt: Halt, max_attempts: int
    ) -> None:
        self._inner = inner
        self._latencies = latencies
        self._tail = tail
        self._retries = retries
        self._halt = halt
        self._most = max_attempts
        self._races: dict[str, _Race] = {}
        self._hedged: set[str] = set()  #: keys; only of rows that were open in the tail
        self._timer: asyncio.TimerHandle | None = None

    async def call(self, request: Request) -> Reply:
        """Ask, and ask beside it when that takes too long."""
        race = self._races[request.key] = _Race(request)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_LOOK_S, self._look)
        try:
            return await self._first_reply(race)
        finally:
            if race.hedge is not None:
                await _torn_down(race.hedge)
            del self._races[request.key]

    def sent(self, request: Request, flight: Flight) -> None:
        """Hear from Timed that a call leaves."""
        race = self._races[request.key]
        if request.attempts_used == race.request.attempts_used:
            race.first = flight
        else:
            race.second = flight
            self._hedged.add(request.key)
            self._tail.hedges += 1

    def answered(self, request: Request) -> None:
        """Hear from Timed that a call has its reply, and end the other before it can cost more."""
        race = self._races[request.key]
        if race.first is None or race.hedge is None:
            return
        if request.attempts_used > race.request.attempts_used:
            race.first.cut("the hedge answered")
        elif race.second is not None:
            race.second.cut("the first call answered")
        else:
            race.hedge.cancel()  # not sent: there is nothing to record

    async def close(self) -> None:
        """Close the provider."""
        if self._timer is not None:
            self._timer.cancel()
        await self._inner.close()

    async def _first_reply(self, race: _Race) -> Reply:
        try:
            reply = await self._inner.call(race.request)
        except Decision as fault:
            if race.hedge is None:
                raise
            came = await race.hedge
            if isinstance(came, Reply):
                return came
            raise fault from came
        if race.hedge is None:
            return reply
        await asyncio.wait((race.hedge,))
        second = None if race.hedge.cancelled() else race.hedge.result()
        if isinstance(second, Reply):  # both came: the ledger's order decides, as it will in later runs
            reply = min(reply, second, key=lambda r: r.seq)
        counts = race.second is not None and not isinstance(second, RateLimited)
        return replace(reply, number=race.request.attempts_used + 1 + counts)  # who asks again counts on from here

    def _look(self) -> None:
        """Hedge every call that is late."""
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(_LOOK_S, self._look) if self._races else None
        races = self._races.values()
        if not self._tail.begun or self._halt or len(self._latencies) < _ENOUGH or any(r.first is None for r in races):
            return
        late = loop.time() - max(_SHORTEST_S, _FACTOR * (self._latencies.quantile(0.95) or 0.0))
        for race in races:
            if race.first is not None and not race.first.over and race.first.sent_at < late and self._may_hedge(race):
                race.hedge = loop.create_task(self._hedge(race.request))

    def _may_hedge(self, race: _Race) -> bool:
        left = self._most - race.request.attempts_used - 1
        return left > 0 and race.hedge is None and race.request.key not in self._hedged

    async def _hedge(self, request: Request) -> _Came:
        """Ask again. A fault is returned: it counts only if the first call fails too."""
        try:
            await self._halt.sleep(self._retries.take(time.monotonic()))
            return await self._inner.call(replace(request, attempts_used=request.attempts_used + 1))
        except (Decision, Stop) as fault:
            return fault
