"""The cool-down after a 429: nothing is sent until the provider will have it again. Pure."""

from __future__ import annotations

import random
from math import inf

_FIRST_S = 1.0
_LONGEST_S = 8.0  #: of the own pauses; one that the provider names is obeyed, whatever its length
_SPREAD_S = 1.0  #: after a pause, the slots fill over this time and not all at once
_DOUBT_S = 1.0  #: between calls that are to show whether anything is answered


class CoolDown:
    """One pause an episode, for every row.

    An episode starts with a 429 to a call that was sent after the last pause began; the 429s of calls sent before it
    can only make the pause longer. The pause is what the provider names, else 1 s; it grows to 2, 4 and 8 s
    while episodes follow each other without an answer. From the second one on, calls go one a second until one is
    answered.
    """

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._began = -inf
        self._until = -inf
        self._next_at = -inf
        self._episodes = 0  #: since the last answer

    @property
    def doubtful(self) -> bool:
        """Whether pauses follow each other with nothing answered."""
        return self._episodes > 1

    def cooling(self, now: float) -> bool:
        """Whether a pause is on, or has just ended without anything answered yet."""
        return now < self._until or self.doubtful

    def wait(self, now: float) -> float:
        """Seconds until a call may go; 0 if at once."""
        return max(0.0, self._next_at - now)

    def admitted(self, slots: int, now: float) -> None:
        """A call goes: just after a pause the next one keeps its distance."""
        if self.doubtful:
            self._next_at = now + _DOUBT_S
        elif now < self._until + _SPREAD_S:
            self._next_at = max(now, self._next_at) + _SPREAD_S / slots

    def limited(self, admitted_at: float, retry_after: float | None, now: float) -> float:
        """A call that was admitted at ``admitted_at`` got a 429; the seconds by which this made the pause longer."""
        pause = 0.0
        if admitted_at >= self._began and now >= self._until:
            self._began = now
            self._episodes += 1
            own = min(_LONGEST_S, _FIRST_S * 2 ** min(self._episodes - 1, 10))
            pause = own * self._rng.uniform(0.75, 1) if retry_after is None or self.doubtful else 0.0
        if retry_after is not None:
            pause = max(pause, retry_after + self._rng.uniform(0, min(0.1 * retry_after, 5.0)))
        longer = now + pause - max(self._until, now)
        if longer <= 0:
            return 0.0
        self._until = self._next_at = now + pause
        return longer

    def answered(self, now: float) -> None:
        """A call was answered."""
        if self.doubtful:
            self._until = self._next_at = now  # from here the slots fill evenly
        self._episodes = 0
