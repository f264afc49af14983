"""The circuit breaker: stops sending to a provider that is down, and probes it one call at a time. Pure."""

from __future__ import annotations

import random
from collections.abc import Iterable
from itertools import islice
from math import inf, log

from llmbatch.limits.calls import Admitted

_ROWS = 6  #: distinct rows that must fail in a row, at least
_CHANCE = 1e-6  #: of opening by accident
_PRIOR_FAULTS, _PRIOR_CALLS = 3.0, 10.0  #: what is usual of a provider of which nothing is known
_MEMORY = 0.99  #: of the usual share, for each answer
_LEAST_USUAL, _MOST_USUAL = 0.01, 0.9
_SUSPECTS = 10_000  #: rows that are remembered to fail by themselves
_FIRST_S = 1.0
_LONGEST_S = 30.0


class Breaker:
    """Opens when distinct rows fail in a row for the provider's reasons, and too many of them to be an accident.

    Too many is measured by the share of faults that is usual for this provider (Chernoff's bound of the binomial
    tail). Faults often end sooner than answers, so a server that fails a third of its calls can show many faults in a
    row: calls that were let go since the first of the faults, before the last, and are still on their way count as
    calls that succeed. Answers to calls that were let go earlier say nothing: in an outage they are of the time before
    it. A row that failed while others were answered is suspect, and when it fails again that says nothing of the
    provider: the end of a run is often a handful of such rows.

    Open, it lets one probe through at a time, after 1 s, 2 s, 4 s ... 30 s; the first that is answered closes it. So
    does, until the first probe failed, the answer to a call that was on its way: then nothing was lost but a moment.
    """

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._failed: set[int] = set()  #: rows, since the last answer
        self._suspects: dict[int, None] = {}  #: rows, in order
        self._faults = 0  #: calls, since the last answer
        self._past_faults = _PRIOR_FAULTS  #: calls before that, the latest weighing most
        self._past_calls = _PRIOR_CALLS
        self._eldest, self._latest = inf, -inf  #: when the first and the last of the failed calls were admitted
        self._probes = 0  #: that failed since it opened
        self._probe_at = 0.0
        self.is_open = False

    @property
    def outage(self) -> bool:
        """Whether a probe failed since it last opened."""
        return self._probes > 0

    def wait(self, now: float) -> float:
        """Seconds until a call, when open a probe, may go; 0 if at once. That probes go singly is the caller's part."""
        return max(0.0, self._probe_at - now) if self.is_open else 0.0

    def failed(self, call: Admitted, in_flight: Iterable[Admitted], now: float) -> bool:
        """A call failed for the provider's reasons; whether this opened the breaker."""
        if self.is_open:
            if call.probe:
                self._probes += 1
                self._postpone(now)
            return False
        if call.row_no in self._suspects:
            return False
        self._failed.add(call.row_no)
        self._eldest = min(self._eldest, call.at)
        self._latest = max(self._latest, call.at)
        self._faults += 1
        if len(self._failed) < _ROWS or not self._no_accident(in_flight):
            return False
        self.is_open = True
        self._probes = 0
        self._postpone(now)
        return True

    def answered(self, call: Admitted) -> bool:
        """The provider answered a call; whether this closed the breaker."""
        if self._failed and call.at < self._eldest:
            self._past_calls += 1
            return False
        if self.is_open and self.outage and not call.probe:
            return False  # it may have been sent just before the outage
        closes, self.is_open = self.is_open, False
        if not (closes and self.outage):  # an outage is not usual
            self._suspect()
            self._past_faults = _MEMORY * self._past_faults + self._faults
            self._past_calls = _MEMORY * self._past_calls + self._faults + 1
        self._faults = 0
        self._eldest, self._latest = inf, -inf
        self._failed.clear()
        self._suspects.pop(call.row_no, None)
        return closes

    def _suspect(self) -> None:
        """The provider answers, so the rows that failed may be to blame themselves."""
        self._suspects |= dict.fromkeys(self._failed)
        for row_no in list(islice(self._suspects, max(0, len(self._suspects) - _SUSPECTS))):
            del self._suspects[row_no]

    def _no_accident(self, in_flight: Iterable[Admitted]) -> bool:
        """Whether so many rows would hardly fail in a row if faults were as frequent as they usually are."""
        on_their_way = sum(self._eldest <= other.at <= self._latest for other in in_flight)
        usual = min(max(self._past_faults / self._past_calls, _LEAST_USUAL), _MOST_USUAL)
        calls = len(self._failed) + on_their_way
        share = len(self._failed) / calls
        if share <= usual:
            return False
        divergence = share * log(share / usual)
        if on_their_way:
            divergence += (1 - share) * log((1 - share) / (1 - usual))
        return calls * divergence >= -log(_CHANCE)

    def _postpone(self, now: float) -> None:
        pause = min(_LONGEST_S, _FIRST_S * 2**self._probes)
        self._probe_at = now + pause * self._rng.uniform(1, 1.2)
