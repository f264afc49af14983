"""How long a run will take yet and what it will have cost, by what was seen and what the limits let through. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import NamedTuple

from llmbatch.limits import LimitState

_WINDOW_S = 30.0
_RECENT_S = 10.0
_SLUMP = 0.5  #: a recent speed below this part of the window's: what was faster, a burst or reused rows, is over
_LEAST_ROWS = 10  #: that were asked, before their cost says what the others will cost
_ETA_AFTER_S = 5.0


class Look(NamedTuple):
    """Counts at a moment."""

    at: float
    settled: int  #: rows
    asked: int  #: rows done or failed: those that took calls
    held: bool = False  #: whether sending was paused


@dataclass(slots=True)
class Speed:
    """Rows a second, over a window that slides with the calls of ``add``."""

    seen: deque[Look] = field(default_factory=deque)

    def add(self, look: Look) -> None:
        """Take in the counts of a moment."""
        self.seen.append(look)
        while len(self.seen) > 2 and self.seen[1].at <= look.at - _WINDOW_S:
            self.seen.popleft()

    @property
    def span_s(self) -> float:
        """Seconds that the speed is measured over."""
        return self.seen[-1].at - self.seen[0].at

    @property
    def rows_per_s(self) -> float:
        """Over the whole window."""
        return _rate(self.seen[0], self.seen[-1])

    @property
    def recent(self) -> float:
        """Over the last ten seconds, or half the window while that is shorter."""
        return _rate(next(self._lately(), self.seen[0]), self.seen[-1])

    @property
    def held_lately(self) -> bool:
        """Whether sending was paused in that time: then it says nothing of the speed to come."""
        return any(look.held for look in self._lately())

    def _lately(self) -> Iterator[Look]:
        since = self.seen[-1].at - min(_RECENT_S, self.span_s / 2)
        return (look for look in self.seen if look.at >= since)

    @property
    def asked_share(self) -> float:
        """The part of the window's rows that took calls."""
        rows = self.seen[-1].settled - self.seen[0].settled
        return (self.seen[-1].asked - self.seen[0].asked) / rows if rows else 1.0


def eta_s(pending: int, speed: Speed, limits: LimitState | None, used: Used) -> float | None:
    """Seconds to the end; None while unknown, and while the provider does not answer.

    The speed is the window's, or the recent one when that is far lower; and not more than the limits let through in
    the long run, because a bucket that was full at the start lets more through for a while.
    """
    if pending == 0:
        return 0.0
    if limits is not None and limits.breaker != "closed":
        return None
    rows_per_s, paused_s = speed.rows_per_s, limits.paused_s if limits else 0.0
    if rows_per_s <= 0 or speed.span_s < _ETA_AFTER_S:
        return None
    if not speed.held_lately and 0 < speed.recent < _SLUMP * rows_per_s:
        rows_per_s = speed.recent
    if limits is not None and speed.asked_share > 0:
        rows_per_s = min(rows_per_s, used.kept_up(limits) / speed.asked_share)
    return pending / rows_per_s + paused_s


@dataclass(frozen=True, slots=True)
class Used:
    """What asked rows took so far."""

    rows: int
    calls: int
    tokens: int  #: in and out

    def kept_up(self, limits: LimitState) -> float:
        """Asked rows a second that requests and tokens a minute let through in the long run."""
        most = float("inf")
        if limits.requests_per_minute and self.rows and self.calls:
            most = limits.requests_per_minute / 60 * self.rows / self.calls
        if limits.tokens_per_minute and self.rows and self.tokens:
            most = min(most, limits.tokens_per_minute / 60 * self.rows / self.tokens)
        return most


def projected_usd(rows: Mapping[str, int], cost: Decimal | None, share: float) -> Decimal | None:
    """What this run will have cost, if ``share`` of the pending rows cost what the asked ones did; None if unknown."""
    asked = rows["done"] + rows["failed"]
    if cost is None or (asked < _LEAST_ROWS and rows["pending"]):
        return None
    if not rows["pending"]:
        return cost
    return cost + cost / asked * Decimal(str(round(share, 4))) * rows["pending"]


def _rate(start: Look, end: Look) -> float:
    span = end.at - start.at
    return (end.settled - start.settled) / span if span > 0 else 0.0
