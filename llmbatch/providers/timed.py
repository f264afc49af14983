"""How long one attempt may take: ``timeout_s`` at most, and less once the run knows how fast the provider answers."""

from __future__ import annotations

import asyncio
from typing import Protocol

from llmbatch.errors import TimedOut
from llmbatch.tally import Histogram
from llmbatch.types import Provider, Reply, Request

_GENERATION = 500  #: latencies in each of the two histograms
_EVERY = 50  #: latencies before the first look at the quantile, and between two; one costs about 15 us
_FLOOR_S = 10.0
_FACTOR = 4.0  #: how many times the p99 an attempt may take


class CutShort(TimedOut):
    """Ended by llmbatch itself, because the run must end or another call has answered; the provider may bill it."""


class Latencies:
    """The latest 500 to 1,000 latencies of a run, in constant memory: the older histogram goes when the newer is full.

    They are the latest, because a p99 over a whole run takes as long to see a change as the run was long before it.
    """

    def __init__(self) -> None:
        self._older, self._newer = Histogram(), Histogram()

    def __len__(self) -> int:
        return self._older.total + self._newer.total

    def add(self, seconds: float) -> None:
        """Count one latency."""
        self._newer.add(seconds)
        if self._newer.total >= _GENERATION:
            self._older, self._newer = self._newer, Histogram()

    def quantile(self, q: float) -> float | None:
        """Seconds below which a share ``q`` lies, within 2.2 %; None when empty."""
        both = self._older.counts.copy()
        both.update(self._newer.counts)  # three times as fast as ``+``
        return Histogram(both, len(self)).quantile(q)


class Patience:
    """The seconds an attempt may take: 4 times the p99 of the latest latencies, at least 10 s, at most ``cap_s``.

    An attempt that ran out of time counts as a latency of that length. So when a server becomes slower, however much,
    about 1 % of timeouts lengthen the time by a factor of 4, and answers come through again. It also means that the
    time goes up to ``cap_s`` for a server that never answers more than 1 % of its calls.
    """

    def __init__(self, cap_s: float) -> None:
        self.cap_s = self.limit_s = cap_s
        self.latencies = Latencies()
        self._seen = 0

    def saw(self, seconds: float) -> bool:
        """Take a latency; whether attempts may now take longer than before."""
        self.latencies.add(seconds)
        self._seen += 1
        if self._seen % _EVERY:
            return False
        before = self.limit_s
        self.limit_s = min(self.cap_s, max(_FLOOR_S, _FACTOR * (self.latencies.quantile(0.99) or 0.0)))
        return self.limit_s > before


class Flight:
    """A call on its way. ``sent_at`` is in the event loop's seconds."""

    __slots__ = ("cut_because", "limit", "limit_s", "over", "patience", "sent_at")

    def __init__(self, sent_at: float, patience: Patience) -> None:
        self.sent_at = sent_at
        self.patience = patience
        self.limit_s = patience.limit_s
        self.limit = asyncio.timeout_at(sent_at + self.limit_s)
        self.over = False
        self.cut_because: str | None = None

    def extend(self, limit_s: float) -> None:
        """Let it take so long since it was sent, if that is longer than before."""
        if limit_s > self.limit_s and self.cut_because is None and not self.limit.expired():
            self.limit_s = limit_s
            self.limit.reschedule(self.sent_at + limit_s)

    def shorten(self, until: float) -> None:
        """Let it take no longer than until then."""
        when = self.limit.when()
        if not (self.over or self.limit.expired()) and when is not None and when > until:
            self.limit_s = until - self.sent_at
            self.limit.reschedule(until)

    def cut(self, because: str) -> None:
        """End it now, if it has not ended: it raises CutShort."""
        if not (self.over or self.limit.expired()):
            self.cut_because = because
            self.limit.reschedule(asyncio.get_running_loop().time())


class Watcher(Protocol):
    """Who hears of calls at the moments when their time begins and ends, without permit and ledger around it."""

    def sent(self, request: Request, flight: Flight) -> None:
        """A call leaves."""

    def answered(self, request: Request) -> None:
        """A call has its reply, which is not stored yet."""


class Timed:
    """Ends an attempt that takes too long; ``cut`` ends all of them at once. Raises TimedOut.

    With ``flex_s``, calls that ask for a tier of their own may take so long, and are measured by themselves.

    Attributes:
        watcher: hears of every call, if set.
    """

    def __init__(self, inner: Provider, timeout_s: float, flex_s: float | None = None) -> None:
        self.watcher: Watcher | None = None
        self._inner = inner
        self._patience = Patience(timeout_s)
        self._flex_s = timeout_s if flex_s is None else flex_s
        self._at_tier = self._patience if flex_s is None else Patience(flex_s)
        self._flights: set[Flight] = set()

    @property
    def latencies(self) -> Latencies:
        """The latest of this run: of answers and of timeouts."""
        return self._patience.latencies

    async def call(self, request: Request) -> Reply:
        """Ask, within the time."""
        clock = asyncio.get_running_loop().time
        patience = self._patience if request.tier is None else self._at_tier
        flight = Flight(clock(), patience)
        try:
            reply = await self._fly(request, flight)
        except CutShort:
            raise
        except TimedOut:
            self._saw(clock() - flight.sent_at, patience)
            raise
        self._saw(clock() - flight.sent_at, patience)
        if self.watcher is not None:
            self.watcher.answered(request)
        return reply

    def cut(self) -> None:
        """End every call in flight now; each is recorded as timed out and possibly paid."""
        for flight in self._flights:
            flight.cut("the run ends")

    def hurry(self, on: bool) -> None:
        """Give calls at a tier of their own no more time than standard ones, those in flight too; or theirs again."""
        if not on:
            self._at_tier.cap_s = self._at_tier.limit_s = self._flex_s
            return
        self._at_tier.cap_s = self._at_tier.limit_s = min(self._at_tier.limit_s, self._patience.limit_s)
        for flight in self._flights:
            flight.shorten(asyncio.get_running_loop().time() + self._at_tier.limit_s)

    async def close(self) -> None:
        """Close the provider."""
        await self._inner.close()

    async def _fly(self, request: Request, flight: Flight) -> Reply:
        try:
            async with flight.limit:
                self._flights.add(flight)
                if self.watcher is not None:
                    self.watcher.sent(request, flight)
                return await self._inner.call(request)
        except TimeoutError:
            raise self._fault(flight) from None
        finally:
            flight.over = True
            self._flights.discard(flight)

    def _fault(self, flight: Flight) -> TimedOut:
        took = asyncio.get_running_loop().time() - flight.sent_at
        if flight.cut_because is not None:
            return CutShort(f"cut short after {took:.1f} s: {flight.cut_because}", latency_s=took, possibly_paid=True)
        faster = "" if flight.limit_s == flight.patience.cap_s else "; other calls of this run take far less"
        return TimedOut(f"no whole answer in {took:.1f} s{faster}", latency_s=took, possibly_paid=True)

    def _saw(self, seconds: float, patience: Patience) -> None:
        if patience.saw(seconds):
            for flight in self._flights:  # they are paid for: better to wait for them than to ask again
                if flight.patience is patience:
                    flight.extend(patience.limit_s)
