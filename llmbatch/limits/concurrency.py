"""How many calls may be in flight: a fixed number, or one that finds the server's knee by itself. Pure.

From those who do it: grow only while the limit is used; double while clean, then by small steps; cut once an episode
and not once an answer of a burst; take no credit from calls that were sent before the cut. Netflix's concurrency-limits
(Gradient2, Vegas) compare latency with that of an idle server to see a queue where no 429 tells of one. BBR (Cardwell
et al., ACM Queue 2016) sends less now and then to see what an idle server takes, so that the yardstick cannot drift.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf, sqrt
from typing import Literal, Protocol

from llmbatch.limits.calls import Admitted, Ended
from llmbatch.limits.changes import Changes
from llmbatch.limits.crowd import Crowd
from llmbatch.limits.latency import Baseline, Sample

START = 8
CEILING = 1_000  #: connection pools are cut to this

_USED = 0.8  #: part of the limit that must be in flight for a round to count
_CUT = 0.75  #: after a 429, a 503 or timeouts, and the most for latency
_BORNE = 0.95  #: part of what was too much to go back to, as CUBIC (RFC 9438) does,
_STAY = 8  #: and to stay at for so many rounds
_FIRST_STAY, _LONGEST_STAY = 1, 64  #: rounds at what a server bears at once
_AIM = 1.2  #: times the latency of a server without a queue
_GROW_BELOW = 1.15
_CUT_ABOVE = 1.35
_PLAINLY = 2.0  #: times the baseline: cut at once; below, when the next round says so too
_WORTH = 1.41  #: doubling that makes latency so much longer gives 1.4 times the throughput: go on
_PROBE = 0.8
_PACING = 2.0
_TELLING = 0.7  #: part of the calls to come down to before a cut that does not help is taken back
_LEAST_DOUBLING, _LEAST, _MOST = 16, 32, 250  #: answers in a round
_NOISE = 0.1  #: of a round's median that is borne; where latencies spread widely, a round takes more of them
_FIRST_PROBE, _PROBE_EVERY = 8, 40  #: rounds
_OVERLOAD = frozenset({"rate_limited", "overloaded", "timeout"})
_TO_JUDGE, _REFUSALS = 10, 3  #: calls that must have ended, and refusals among them, before they say anything
_LEAST_USUAL, _MOST_USUAL = 0.02, 0.3  #: part of the calls that may be refused without being load
_SIGMAS = 3.0
_UNUSUAL = 0.05
_FASTEST_S = 0.001  #: latencies below tell nothing of a server


class Slots(Protocol):
    """What the gate asks of either."""

    limit: int

    @property
    def gap_s(self) -> float:
        """Seconds to keep between calls, so that new slots do not fill all at once; 0 for none."""

    def settled(self, call: Admitted, ended: Ended, in_flight: int, now: float) -> bool:
        """A call ended; ``in_flight`` counts it still. Whether this showed that refusals are of too many at once."""

    def restart(self, reason: str, now: float) -> None:
        """Sending begins again after a pause in which nothing was answered."""


class Fixed:
    """A number that stays."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.gap_s = 0.0

    def settled(self, call: Admitted, ended: Ended, in_flight: int, now: float) -> bool:  # noqa: ARG002 - as Slots
        """Nothing to learn."""
        return False

    def restart(self, reason: str, now: float) -> None:
        """Nothing to begin again."""


@dataclass(slots=True)
class _Round:
    """What is seen at one limit: answers to calls that were admitted since it holds."""

    began: float
    samples: list[Sample] = field(default_factory=list)
    busiest: int = 0
    ended: int = 0  #: admitted since the last cut
    faults: int = 0
    overloads: int = 0


class Adaptive:
    """Moves the limit once a round of two answers a slot, and more of them where latencies spread widely.

    Doubling: twice the limit, while latency shows no queue or the throughput gained is worth it. Halving: the first
    doubling was too much; perhaps the start was, too. Steady: a tenth more below 1.15 times the baseline's latency,
    less after two rounds above 1.35. Probing: after a cut for latency, and every 40 rounds, see whether fewer calls are
    answered faster; if not, nothing was queued, and the baseline is what is seen now.
    """

    def __init__(self, changes: Changes, now: float, *, start: int = START, ceiling: int = CEILING) -> None:
        self.limit = min(start, ceiling)
        self._changes = changes
        self._ceiling = ceiling
        self._double_to = ceiling
        self._phase: Literal["doubling", "halving", "steady", "cut", "probe"] = "doubling"
        self._before = (self.limit, 1.0)  #: limit and latency ratio of the round before
        self._baseline = Baseline()
        self._unqueued: list[Sample] = []
        self._borne = 0  #: what the server is thought to bear, from the last time that it was too much
        self._bears = 0  #: calls at once above which it is thought to refuse any; 0 for none
        self._stay = 0  #: rounds before more is tried
        self._stays = _FIRST_STAY  #: what it was set to
        self._crowd = Crowd()
        self._to_probe = _FIRST_PROBE
        self._doubtful = False  #: the latest round was too slow
        self._usual_faults = 0.0  #: part of the calls, smoothed over rounds
        self._usual_overloads = 0.0
        self._cut_at = -inf
        self._latency_s = 0.0  #: of the latest answers
        self._round = _Round(now)

    @property
    def gap_s(self) -> float:
        """So that calls go at most ``_PACING`` times as fast as the slots come free, as TCP paces its window."""
        return self._latency_s / (_PACING * self.limit)

    def settled(self, call: Admitted, ended: Ended, in_flight: int, now: float) -> bool:
        """Count a call; move the limit when a round is full, or at once when the server has too much to do."""
        round_ = self._round
        round_.busiest = max(round_.busiest, in_flight)
        if call.at < self._cut_at:
            return False
        round_.ended += 1
        if ended.outcome == "answered":
            self._crowd.answered(call.beside)
            self._latency_s += (0.1 if self._latency_s else 1.0) * (ended.latency_s - self._latency_s)
            if call.at >= round_.began:
                round_.samples.append((max(ended.latency_s, _FASTEST_S), ended.output_tokens or 0))
                if len(round_.samples) >= max(self._least(), 2 * self.limit):
                    self._close(now)
        elif ended.outcome in _OVERLOAD:
            if not call.probe:
                round_.overloads += 1
                if self._too_many(call, ended.outcome, now):
                    return True
                self._overload(ended.outcome, now)
        elif ended.outcome == "transient":
            round_.faults += 1
        return False

    def restart(self, reason: str, now: float) -> None:
        """Begin low again, and double up to three quarters of what it was."""
        self._double_to = max(START, int(self.limit * _CUT))
        self._move(min(START, self.limit), reason, now)
        self._phase, self._cut_at = "doubling", now

    def _least(self) -> int:
        """Answers that a round takes at least. The median of n has a standard error of 1.25 spreads over root n."""
        least = _LEAST_DOUBLING if self._phase == "doubling" else _LEAST
        return max(least, min(_MOST, int((1.25 * self._baseline.spread / _NOISE) ** 2)))

    def _too_many(self, call: Admitted, outcome: str, now: float) -> bool:
        """Whether the server refuses what is more than so many calls at once; then keep to that."""
        bears = None if outcome == "timeout" else self._crowd.refused(call.beside)
        if bears is None or bears >= self.limit:
            return False
        self._stays = min(2 * self._stays, _LONGEST_STAY) if bears == self._bears else _FIRST_STAY
        self._phase, self._cut_at = "steady", now
        self._borne, self._bears, self._stay = bears, bears, self._stays
        self._move(bears, f"{outcome.replace('_', ' ')} above {bears} at once", now)
        return True

    def _overload(self, outcome: str, now: float) -> None:
        """Cut, once an episode, when more calls than usual are refused: a steady share of faults is not load."""
        round_ = self._round
        if round_.overloads < _REFUSALS or round_.ended < _TO_JUDGE:
            return
        expected = round_.ended * min(max(self._usual_overloads, _LEAST_USUAL), _MOST_USUAL)
        if round_.overloads <= expected + _SIGMAS * sqrt(expected):
            return
        share = round_.overloads / round_.ended
        self._phase, self._cut_at = "steady", now
        self._borne, self._bears, self._stay = int(self.limit * _BORNE), 0, _STAY
        self._usual_overloads += 0.2 * (share - self._usual_overloads)
        self._move(int(self.limit * _CUT), f"{share:.0%} {outcome.replace('_', ' ')}", now)

    def _close(self, now: float) -> None:
        """Judge a full round."""
        round_, self._round = self._round, _Round(now)
        if round_.busiest < _USED * self.limit or self._faulty(round_):
            return
        if not self._baseline.known:
            self._baseline.fit(round_.samples)
        ratio = self._baseline.ratio(round_.samples)
        if self._phase == "doubling":
            self._double(round_.samples, ratio, now)
        elif self._phase == "steady":
            self._steady(ratio, now)
        else:
            self._look(ratio, now)

    def _faulty(self, round_: _Round) -> bool:
        """Whether more calls failed than usual: then it is no time to grow."""
        faults, overloads = round_.faults / round_.ended, round_.overloads / round_.ended
        unusual = faults > _UNUSUAL + 1.5 * self._usual_faults
        self._usual_faults += 0.2 * (faults - self._usual_faults)
        self._usual_overloads += 0.2 * (overloads - self._usual_overloads)
        return unusual

    def _double(self, samples: list[Sample], ratio: float, now: float) -> None:
        limit, before = self._before
        slower = ratio / before if self.limit > limit else 1.0
        if ratio > _AIM and slower > _WORTH:
            if limit <= START:  # it may have been too many from the start
                self._phase = "halving"
                self._move(limit // 2, f"latency {ratio:.2f} times that of {limit}: would fewer do?", now)
                return
            self._phase = "steady"
            self._move(int(self.limit * _AIM / ratio), f"latency {ratio:.2f} times the lowest", now)
            return
        if ratio > _AIM:
            self._unqueued.clear()
        self._unqueued += samples
        self._baseline.fit(self._unqueued)
        self._before = self.limit, self._baseline.ratio(samples)
        if self.limit * 2 >= self._double_to:
            self._phase = "steady"
        self._move(min(self.limit * 2, self._double_to), "no queue seen", now)

    def _steady(self, ratio: float, now: float) -> None:
        self._unqueued.clear()
        self._to_probe -= 1
        if ratio <= _CUT_ABOVE:
            self._doubtful = False
        elif not self._doubtful and ratio < _PLAINLY:
            self._doubtful = True  # chance, perhaps; and what chance has chosen is no yardstick for the cut
            return
        if ratio > _CUT_ABOVE:
            self._doubtful = False
            self._less("cut", max(_CUT, _AIM / ratio), ratio, f"latency {ratio:.2f} times the lowest", now)
        elif self._to_probe <= 0:
            self._to_probe = _PROBE_EVERY
            self._less("probe", _PROBE, ratio, "probe: are fewer calls faster?", now)
        elif ratio < _GROW_BELOW:
            self._grow(now)

    def _grow(self, now: float) -> None:
        if self.limit < self._borne:
            self._move(self._borne, "back to what was borne", now)
        elif 0 < self._bears < self.limit:  # a whole round of more at once was answered: that was not the cause
            self._move(self.limit + max(1, self.limit // 4), "more at once are answered after all", now)
        elif self._stay:
            self._stay -= 1
        else:
            self._move(self.limit + max(1, self.limit // 10), "no queue seen", now)

    def _look(self, ratio: float, now: float) -> None:
        """After a step down: were fewer calls answered faster?"""
        limit, before = self._before
        if self._phase == "cut":
            if ratio <= _CUT_ABOVE:
                self._phase = "steady"
                return
            if self.limit > _TELLING * limit:  # too small a step to tell by
                self._move(
                    int(self.limit * max(_CUT, _AIM / ratio)), f"latency still {ratio:.2f} times the lowest", now
                )
                return
        if ratio / before > (1 + self.limit / limit) / 2:
            self._phase = "steady"
            self._baseline.scale(ratio)
            self._move(limit, "fewer calls are not faster", now)
        elif self._phase == "cut":
            self._phase = "steady"
        else:
            self._less("probe", _PROBE, ratio, "probe: fewer calls were faster", now)

    def _less(self, phase: Literal["cut", "probe"], factor: float, ratio: float, reason: str, now: float) -> None:
        if int(self.limit * factor) < 1:
            self._phase = "steady"
            return
        self._phase, self._before = phase, (self.limit, ratio)
        self._move(int(self.limit * factor), reason, now)

    def _move(self, limit: int, reason: str, now: float) -> None:
        limit = max(1, min(self._ceiling, limit))
        self._round = _Round(now)
        if limit != self.limit:
            self.limit = limit
            self._changes.add(now, "concurrency", limit, reason)
