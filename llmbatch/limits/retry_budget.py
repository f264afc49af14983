"""How often and how soon to try again: a budget for the whole run, and the pause of one request."""

from __future__ import annotations

import random

_FIRST_S = 0.5  #: the widest first pause
_LONGEST_S = 30.0


def backoff(attempt: int, rng: random.Random) -> float:
    """Seconds to pause after attempt number ``attempt`` (1-based): exponential, with full jitter.

    After M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015: a pause drawn from the whole range
    spreads the retries of many clients best.
    """
    return rng.uniform(0, min(_LONGEST_S, _FIRST_S * 2 ** min(attempt - 1, 16)))


class RetryBudget:
    """Bounds what retries add to a run, whatever the fault rate.

    Each first attempt earns ``fraction`` of a retry; when less than ``floor`` is left, time adds ``per_s``, so that a
    small run is not starved and no row waits for ever. Retries that went ahead, over any time t from the start::

        retries <= fraction * first_attempts + floor + per_s * t

    With 30 % of the calls failing and 4 attempts a row needs 0.42 retries, so a fraction of 0.5 never slows it.
    """

    def __init__(self, *, fraction: float = 0.5, floor: float = 10.0, per_s: float = 1.0) -> None:
        self._fraction = fraction
        self._floor = floor
        self._per_s = per_s
        self._level = floor
        self._at = 0.0  # read only once less than the floor is left

    def first_attempt(self, now: float) -> None:
        """A request is asked for the first time."""
        self._refill(now)
        self._level += self._fraction

    def take(self, now: float) -> float:
        """Take one retry; seconds to wait before it may be made, 0 if at once.

        The wait is what time alone needs to pay for it: a retry taken while the budget is empty waits behind the last.
        """
        self._refill(now)
        self._level -= 1
        return max(0.0, -self._level / self._per_s)

    def _refill(self, now: float) -> None:
        if self._level < self._floor:
            self._level = min(self._floor, self._level + (now - self._at) * self._per_s)
        self._at = now
