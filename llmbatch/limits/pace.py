"""Finds a requests-a-minute limit that no header names, from the 429s alone. Pure.

A few 429s need nothing but the cool-down. Where they are many, the answers that came through, pauses included, are the
limit: keep to it, and see whether the 429s stop. If they do not, they have another cause, and the pace is let go.
"""

from __future__ import annotations

from typing import Literal

_THROUGH = 30  #: calls that must have come through to find a limit by,
_CALLS = 100  #: and calls to try it for;
_LEAST_S = 3.0  #: the time that either takes at least
_QUIET = 40  #: calls without a 429 after which none is watched for
_MANY, _MOST = 0.02, 0.9  #: part of the calls that got a 429: at least, and so many that it is an outage
_MARGIN = 0.98
_LONG_PAUSE_S = 5.0  #: who names a long pause has told all there is to know
_HOLD_S, _LONGEST_HOLD_S = 15.0, 240.0
_STEP_S = 10.0
_STEP, _LARGEST_STEP = 0.02, 0.16  #: the first step up after a hold; each further one is twice as large
_PLAINLY = 4.0  #: a limit that lets so many times the pace through is gone
_DEAF_S = 120.0  #: after a pace that did not help


class Pace:
    """Counts calls and 429s; ``per_s`` is the rate to keep to, None for none."""

    def __init__(self) -> None:
        self.per_s: float | None = None
        self._state: Literal["idle", "watching", "trying", "holding"] = "idle"
        self._since = 0.0
        self._admitted = 0
        self._limited = 0
        self._quiet_from = (0, 0.0)  #: calls admitted, and the time, at the latest 429
        self._share = 0.0  #: of 429s before the pace was set
        self._kept = 0.0  #: the rate held longest without a 429
        self._last = 0.0  #: the rate before the latest step
        self._hold_s = _HOLD_S
        self._next_at = 0.0
        self._step = _STEP
        self._deaf_until = 0.0

    def admitted(self) -> None:
        """A call goes. Refusals come at once, so a call that is still in flight has come through."""
        self._admitted += 1

    def forget(self, admitted_at: float) -> None:
        """A call counts neither way: it was not made, or its 429 may be of the row alone, which got one before."""
        if admitted_at >= self._since:
            self._admitted -= 1

    def answered(self, admitted_at: float, now: float) -> bool:
        """A call was answered; whether ``per_s`` changed."""
        if self._state == "idle" or admitted_at < self._since:
            return False
        quiet, since = self._quiet_from
        if self._state == "watching" and self._admitted - quiet >= _QUIET and now - since >= _LEAST_S:
            self._state = "idle"
        if self._state == "holding":
            return now >= self._next_at and self._faster(now)
        return self._state == "trying" and self._judge(now)

    def limited(self, admitted_at: float, pause_s: float, now: float) -> bool:
        """A call got a 429, which made the pause longer by ``pause_s``; whether ``per_s`` changed."""
        if pause_s > _LONG_PAUSE_S:
            return self._let_go(now)
        if self._state == "idle":
            if now >= self._deaf_until:
                self._count_from(now, "watching")
            return False
        if admitted_at < self._since:
            return False
        self._limited += 1
        self._quiet_from = (self._admitted, now)
        if self._state == "watching":
            return self._find(now)
        return self._slower(now) if self._state == "holding" else self._judge(now)

    def _find(self, now: float) -> bool:
        """Watching began with a 429, and this is one: between two moments with nothing left, the limit came through."""
        took, through = now - self._since, self._admitted - self._limited
        if took < _LEAST_S or through < _THROUGH:
            return False
        share = self._limited / self._admitted
        if not _MANY <= share <= _MOST:
            self._count_from(now, "watching")
            return False
        self._share, self.per_s = share, through / took * _MARGIN
        self._count_from(now, "trying")
        return True

    def _judge(self, now: float) -> bool:
        """Paced for a while: did the 429s stop?"""
        if self._admitted < _CALLS or now - self._since < _LEAST_S:
            return False
        if self._limited > self._share / 2 * self._admitted:
            self._deaf_until = now + _DEAF_S
            return self._let_go(now)
        self._hold(now)
        return False

    def _hold(self, now: float) -> None:
        self._count_from(now, "holding")
        self._kept, self._step, self._next_at = self.per_s or 0.0, _STEP, now + self._hold_s

    def _faster(self, now: float) -> bool:
        """Hardly anything was refused for a while: try a little more, until the limit is plainly gone."""
        assert self.per_s is not None
        if self.per_s >= _PLAINLY * self._kept:
            self._hold_s = _HOLD_S
            return self._let_go(now)
        self._last = self.per_s
        self.per_s *= 1 + self._step
        self._step = min(2 * self._step, _LARGEST_STEP)
        self._next_at = now + _STEP_S
        self._count_from(now, "holding")
        return True

    def _slower(self, now: float) -> bool:
        """Refused at the pace: back between what was held and what was borne; if it was held, watch anew."""
        assert self.per_s is not None
        if self._limited < 2 or self._limited <= _MANY * self._admitted:
            return False
        if self.per_s <= self._kept:
            self._count_from(now, "watching")
            return False
        self.per_s = (self._kept + self._last) / 2
        self._hold_s = min(2 * self._hold_s, _LONGEST_HOLD_S)
        self._hold(now)
        return True

    def _let_go(self, now: float) -> bool:
        had, self.per_s = self.per_s, None
        self._count_from(now, "idle")
        return had is not None

    def _count_from(self, now: float, state: Literal["idle", "watching", "trying", "holding"]) -> None:
        self._state, self._since = state, now
        self._admitted, self._limited, self._quiet_from = 0, 0, (0, now)
