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

    def merge(self, later: Point) -> None:
        """Take in the span that follows."""
        self.seconds += later.seconds
        self.rows += later.rows
        self.answers += later.answers
        self.dollars += later.dollars
        self.in_flight = max(self.in_flight, later.in_flight)
        self.concurrency = later.concurrency


@dataclass(slots=True)
class Timeline:
    """Spans of equal length: a quarter of a second at first, twice as long whenever there would be more than 240."""

    every_s: float = _FIRST_S
    spans: dict[int, Point] = field(default_factory=dict)  #: by number, from the run's start; empty ones are absent
    _at: float = 0.0
    _rows: int = 0
    _answers: int = 0
    _dollars: float = 0.0

    def add(self, at_s: float, *, rows: int, answers: int, dollars: float, in_flight: int, concurrency: int) -> None:
        """Take in the sums at a moment, ``at_s`` seconds after the start; moments come in order."""
        middle = (self._at + at_s) / 2  # what came since the last look came in the span around here
        while int(middle / self.every_s) >= _MOST:
            self._halve()
        seen = Point(
            seconds=at_s - self._at,
            rows=rows - self._rows,
            answers=answers - self._answers,
            dollars=dollars - self._dollars,
            in_flight=in_flight,
            concurrency=concurrency,
        )
        self._at, self._rows, self._answers, self._dollars = at_s, rows, answers, dollars
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
