"""A run's speed over time, in at most 240 points however long it takes."""

from __future__ import annotations

from dataclasses import dataclass, field

_MOST = 240
_FIRST_S = 0.25


@dataclass(slots=True)
class Point:
    """What happened in one span of time."""

    seconds: float = 0.0  #: that were looked at; a busy machine may miss a look
    rows: int = 0  #: that got their outcome
    answers: int = 0  #: of calls
    dollars: float = 0.0  #: spent, as far as it is priced
    in_flight: int = 0  #: at the busiest look
    concurrency: int = 0  #: calls that might be in flight, at the end
    paused_s: float = 0.0  #: of the seconds, those in which sending was paused
    down_s: float = 0.0  #: and those in which the provider was down

    def merge(self, later: Point) -> None:
        """Take in the span that follows."""
        self.seconds += later.seconds
        self.rows += later.rows
        self.answers += later.answers
        self.dollars += later.dollars
        self.in_flight = max(self.in_flight, later.in_flight)
        self.concurrency = later.concurrency
        self.paused_s += later.paused_s
        self.down_s += later.down_s


@dataclass(frozen=True, slots=True)
class Look:
    """The sums of a run, and what its limits do, at one moment."""

    rows: int = 0  #: that have an outcome
    answers: int = 0
    dollars: float = 0.0
    in_flight: int = 0
    concurrency: int = 0
    paused: bool = False
    down: bool = False


@dataclass(slots=True)
class Timeline:
    """Spans of equal length: a quarter of a second at first, twice as long whenever there would be more than 240."""

    every_s: float = _FIRST_S
    spans: dict[int, Point] = field(default_factory=dict)  #: by number, from the run's start; empty ones are absent
    _at: float = 0.0
    _last: Look = field(default_factory=Look)

    def add(self, at_s: float, look: Look) -> None:
        """Take in a look, ``at_s`` seconds after the start; looks come in order."""
        middle = (self._at + at_s) / 2  # what came since the last look came in the span around here
        while int(middle / self.every_s) >= _MOST:
            self._halve()
        seconds = at_s - self._at
        seen = Point(
            seconds=seconds,
            rows=look.rows - self._last.rows,
            answers=look.answers - self._last.answers,
            dollars=look.dollars - self._last.dollars,
            in_flight=look.in_flight,
            concurrency=look.concurrency,
            paused_s=seconds if look.paused and not look.down else 0.0,
            down_s=seconds if look.down else 0.0,
        )
        self._at, self._last = at_s, look
        number = int(middle / self.every_s)
        if number in self.spans:
            self.spans[number].merge(seen)
        else:
            self.spans[number] = seen

    def _halve(self) -> None:
        """Merge neighbours."""
        self.every_s *= 2
        merged: dict[int, Point] = {}
        for number, point in self.spans.items():
            if number // 2 in merged:
                merged[number // 2].merge(point)
            else:
                merged[number // 2] = point
        self.spans = merged
