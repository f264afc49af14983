"""The circuit breaker: stops sending to a provider that is down, and probes it one call at a time. Pure."""

from __future__ import annotations

import random

_ROWS = 10  #: distinct rows that must fail in a row, so that one bad row or a flaky server opens nothing
_FIRST_S = 1.0
_LONGEST_S = 30.0


class Breaker:
    """Opens when ``_ROWS`` distinct rows failed for the provider's reasons with nothing answered in between.

    Open, it lets one probe through at a time, after 1 s, 2 s, 4 s ... 30 s; the first that is answered closes it. The
    chance that ten rows fail in a row by accident is 6 in a million where 30 % of all calls fail.
    """

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._failed: set[int] = set()
        self._probes = 0
        self._probe_at = 0.0
        self.is_open = False

    def wait(self, now: float) -> float:
        """Seconds until a call, when open a probe, may go; 0 if at once. That probes go singly is the caller's part."""
        return max(0.0, self._probe_at - now) if self.is_open else 0.0

    def failed(self, row_no: int, now: float, *, probe: bool) -> bool:
        """A row's call failed for the provider's reasons; whether this opened the breaker."""
        if self.is_open:
            if probe:
                self._postpone(now)
            return False
        self._failed.add(row_no)
        if len(self._failed) < _ROWS:
            return False
        self.is_open = True
        self._probes = 0
        self._postpone(now)
        return True

    def answered(self, *, probe: bool) -> bool:
        """The provider answered a call; whether this closed the breaker.

        While it is open only a probe's answer counts: the others were sent before the outage.
        """
        if self.is_open and not probe:
            return False
        closes, self.is_open = self.is_open, False
        self._failed.clear()
        return closes

    def _postpone(self, now: float) -> None:
        pause = min(_LONGEST_S, _FIRST_S * 2**self._probes)
        self._probes += 1
        self._probe_at = now + pause * self._rng.uniform(0.9, 1.1)
