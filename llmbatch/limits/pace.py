"""Finds a requests-a-minute limit that no header names, from the 429s alone. Pure.

A few 429s need nothing but the cool-down. Where they are many, the answers that came through, pauses included, are the
limit: keep to it, and see whether the 429s stop. If they do not, they have another cause, and the pace is let go.
"""

from __future__ import annotations

from typing import Literal

_CALLS = 100  #: that a judgement takes,
_LEAST_S = 3.0  #: and the time it takes at least
_MANY = 0.02  #: part of the calls that got a 429
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
        self._answered = 0
        self._limited = 0
        self._share = 0.0  #: of 429s before the pace was set
        self._kept = 0.0  #: the rate held longest without a 429
        self._last = 0.0  #: the rate before the latest step
        self._hold_s = _HOLD_S
        self._next_at = 0.0
        self._step = _STEP
        self._deaf_until = 0.0

    def answered(self, admitted_at: float, now: float) -> bool:
        """A call was answered; whether ``per_s`` changed."""
        if self._state == "idle" or admitted_at < self._since:
            return False
        self._answered += 1
        if self._state == "holding":
            return now >= self._next_at and self._faster(now)
        return self._judge(now)

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
        if self._state == "holding":
            return self._slower(now)
        return self._judge(now)

    def _judge(self, now: float) -> bool:
        calls, took = self._answered + self._limited, now - self._since
        if calls < _CALLS or took < _LEAST_S:
            return False
        share = self._limited / calls
        if self._state == "watching":
            if share < _MANY or self._answered < _CALLS / 10:
                self._state = "idle"
                return False
            self._share, self.per_s = share, self._answered / took * _MARGIN
            self._count_from(now, "trying")
            return True
        if share > self._share / 2:
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
        if self._limited < 2 or self._limited <= _MANY * (self._answered + self._limited):
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
        self._state, self._since, self._answered, self._limited = state, now, 0, 0
