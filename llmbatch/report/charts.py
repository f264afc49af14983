"""RunReport -> shapes of its charts, in a box of 1,000 by 100, and what they show in words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from statistics import median
from typing import Any

from llmbatch.report import words
from llmbatch.report.details import Timeline, TimelinePoint
from llmbatch.report.model import LimitChange, RunReport
from llmbatch.report.words import count, usd

_WIDE, _HIGH = 1000.0, 100.0
_TABLE_ROWS = 12


@dataclass(frozen=True, slots=True)
class Axis:
    """Seconds since the start -> places in the box."""

    seconds: float

    def x(self, at_s: float) -> float:
        """The place of a moment."""
        return round(min(at_s / self.seconds, 1.0) * _WIDE, 1) if self.seconds else 0.0


def latency(report: RunReport) -> list[dict[str, Any]]:
    """Bars of the histogram."""
    bars = report.latency_ms.histogram
    most = max((bar.count for bar in bars), default=0)
    width = _WIDE / len(bars) if bars else 0.0
    return [
        {
            "x": round(width * (number + 0.06), 1),
            "width": round(width * 0.88, 1),
            "height": _height(bar.count, most),
            "answers": count(bar.count),
            "start": words.latency(bar.from_ms),
            "end": words.latency(bar.to_ms),
        }
        for number, bar in enumerate(bars)
    ]


def over_time(report: RunReport) -> dict[str, Any] | None:
    """Answers a second and calls in flight over the same axis, with every change of a limit; None when not recorded."""
    timeline = report.timeline
    if timeline is None:
        return None
    axis = Axis(timeline.points[-1].at_s + timeline.every_s)
    fastest = max(point.answers_per_s for point in timeline.points)
    busiest = max(max(point.in_flight, point.concurrency) for point in timeline.points)
    return {
        "end": words.duration(axis.seconds),
        "half": words.duration(axis.seconds / 2),
        "fastest": _per_s(fastest),
        "busiest": count(busiest),
        "speed": _area(timeline, axis, fastest, lambda point: point.answers_per_s),
        "flight": _area(timeline, axis, busiest, lambda point: point.in_flight),
        "limit": _steps(timeline, axis, busiest, lambda point: point.concurrency),
        "bands": _bands(timeline, axis),
        "marks": _marks(report.limits.changes, axis),
        "speed_words": _speed_words(timeline, axis),
        "flight_words": _flight_words(timeline, busiest),
        "table": _table(timeline),
    }


def trend(report: RunReport) -> dict[str, Any] | None:
    """Dollars by 1,000 rows done, run by run, this one last; None when there is nothing to compare or all is free."""
    runs = [run for run in report.trend if run.done]
    now = report.cost.per_1000_done_usd
    known = [run.per_1000_done_usd for run in runs if run.per_1000_done_usd is not None]
    said = trend_words(report)
    if said is None or now is None:
        return None
    most = max(*known, now)
    bars: list[dict[str, Any]] = [
        {"name": run.run_id, "when": run.started_at, "dollars": usd(run.per_1000_done_usd), "now": False,
         "rows": f"{count(run.done)} of {count(run.rows)}", "version": run.prompt_version[:12],
         "height": _height(float(run.per_1000_done_usd or 0), float(most))}
        for run in runs
    ]  # fmt: skip
    bars.append(
        {"name": report.run_id, "when": report.started_at, "dollars": usd(now), "now": True,
         "rows": f"{count(report.rows.done)} of {count(report.rows.total)}", "version": report.prompt_version[:12],
         "height": _height(float(now), float(most))}
    )  # fmt: skip
    width = _WIDE / max(len(bars), 8)
    for number, bar in enumerate(bars):
        bar |= {"x": round(width * (number + 0.1), 1), "width": round(width * 0.8, 1)}
    return {"bars": bars, "words": said, "most": usd(most)}


def trend_words(report: RunReport) -> str | None:
    """This run's dollars by 1,000 rows done against the runs before; None when there is nothing to compare."""
    now = report.cost.per_1000_done_usd
    known = [run.per_1000_done_usd for run in report.trend if run.done and run.per_1000_done_usd is not None]
    if now is None or not known:
        return None
    usual, runs = median(known), words.number_of(len(known), "run")
    before = f"the run before ({usd(usual)})" if len(known) == 1 else f"the median of the last {runs} ({usd(usual)})"
    if not usual:
        return f"{usd(now)} per 1,000 rows done, after {before}" if now else None
    off = float(now / usual) - 1
    how = "as" if abs(off) < 0.005 else f"{abs(off):.0%} {'above' if off > 0 else 'below'}"
    return f"{usd(now)} per 1,000 rows done, {how} {before}"


def plan(report: RunReport) -> dict[str, Any] | None:
    """The planned range of dollars and the bill on one scale from 0; None when one is unknown."""
    planned, actual = report.planned, report.cost.total_usd
    if planned is None or planned.cost_usd is None or actual is None:
        return None
    span = planned.cost_usd
    most = float(max(span.high, actual)) * 1.05
    if not most:
        return None
    low, high, likely, paid = (round(float(d) / most * _WIDE, 1) for d in (span.low, span.high, span.likely, actual))
    said = f"Planned {usd(span.likely)}, between {usd(span.low)} and {usd(span.high)}; the bill is {usd(actual)}."
    return {"low": low, "width": max(round(high - low, 1), 2.0), "likely": likely, "paid": paid, "words": said}


def _height(value: float, most: float) -> float:
    """Of a bar; what is not nothing can be seen."""
    return round(max(value / most * _HIGH, 1.5 if value else 0.0), 1) if most else 0.0


def _steps(timeline: Timeline, axis: Axis, most: float, value: Callable[[TimelinePoint], float]) -> str:
    """A line with steps, as the points of a polyline; a span in which nobody looked keeps the value before."""
    points = []
    for point in timeline.points:
        y = round(_HIGH - (value(point) / most * _HIGH if most else 0.0), 1)
        points += [f"{axis.x(point.at_s)},{y}", f"{axis.x(point.at_s + timeline.every_s)},{y}"]
    return " ".join(points)


def _area(timeline: Timeline, axis: Axis, most: float, value: Callable[[TimelinePoint], float]) -> str:
    start = axis.x(timeline.points[0].at_s)
    return f"{start},100 {_steps(timeline, axis, most, value)} 1000,100"


def _bands(timeline: Timeline, axis: Axis) -> list[dict[str, Any]]:
    """When nothing was sent for most of a span: pauses, and outages of the provider."""
    bands = []
    for kind, group in groupby(timeline.points, key=lambda point: _held(point, timeline.every_s)):
        if kind is None:
            continue
        points = list(group)
        start, end = points[0].at_s, min(points[-1].at_s + timeline.every_s, axis.seconds)
        what = "paused" if kind == "pause" else "provider down"
        bands.append({
            "x": axis.x(start),
            "width": round(axis.x(end) - axis.x(start), 1),
            "kind": kind,
            "words": f"{what}, {words.duration(start)} to {words.duration(end)}",
        })  # fmt: skip
    return bands


def _held(point: TimelinePoint, every_s: float) -> str | None:
    if point.down_s > every_s / 2:
        return "breaker"
    return "pause" if point.paused_s > every_s / 2 else None


def _marks(changes: Sequence[LimitChange], axis: Axis) -> list[dict[str, Any]]:
    return [
        {"x": axis.x(change.at_s), "words": f"{words.duration(change.at_s)}: {words.limit(change)}, {change.reason}"}
        for change in changes
        if change.what == "concurrency"
    ]


def _per_s(rate: float) -> str:
    return f"{rate:,.0f}/s" if rate >= 10 else f"{rate:.2g}/s"


def _speed_words(timeline: Timeline, axis: Axis) -> str:
    best = max(timeline.points, key=lambda point: point.answers_per_s)
    mean = sum(point.answers_per_s for point in timeline.points) / len(timeline.points)
    over = f"Answers a second over {words.duration(axis.seconds)}"
    return f"{over}: {_per_s(mean)} on average, at most {_per_s(best.answers_per_s)} at {words.duration(best.at_s)}."


def _flight_words(timeline: Timeline, busiest: int) -> str:
    end = timeline.points[-1].concurrency
    return f"Calls in flight and how many were allowed: {count(busiest)} at most, {count(end)} allowed at the end."


def _table(timeline: Timeline) -> list[list[str]]:
    """Some dozen moments of the charts, for those who cannot see them."""
    every = -(-len(timeline.points) // _TABLE_ROWS)
    return [
        [
            words.duration(point.at_s),
            _per_s(point.answers_per_s),
            _per_s(point.rows_per_s),
            f"{point.in_flight} of {point.concurrency}",
        ]
        for point in timeline.points[::every]
    ]
