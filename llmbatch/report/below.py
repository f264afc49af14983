"""A run's sums -> the details of its report."""

from __future__ import annotations

from dataclasses import asdict

from llmbatch.report.details import DOLLAR_PLACES, FailedRow, RowCalls, Timeline, TimelinePoint
from llmbatch.tally import RowSum, Tally
from llmbatch.tally import Timeline as Looks


def timeline_of(timeline: Looks) -> Timeline | None:
    """The run's speed over time; None when nobody looked."""
    points = tuple(
        TimelinePoint(
            at_s=round(number * timeline.every_s, 3),
            rows_per_s=round(point.rows / point.seconds, 3),
            answers_per_s=round(point.answers / point.seconds, 3),
            in_flight=point.in_flight,
            concurrency=point.concurrency,
            cost_usd=round(point.dollars, DOLLAR_PLACES),
            paused_s=round(point.paused_s, 2),
            down_s=round(point.down_s, 2),
        )
        for number, point in sorted(timeline.spans.items())
        if point.seconds > 0
    )
    return Timeline(timeline.every_s, points) if points else None


def examples_of(tally: Tally) -> tuple[FailedRow, ...]:
    """Failed rows before skipped ones, the largest class first."""
    rank = {"failed": tally.failures, "skipped": tally.skips}
    rows = sorted(tally.examples.list(), key=lambda row: (row.status, -rank[row.status][row.failure], row.failure))
    return tuple(FailedRow(**asdict(row)) for row in rows)


def calls_of(row: RowSum) -> RowCalls:
    """One row's calls; dollars are None when a part of them is unknown."""
    known = None if row.unpriced else round(row.cost_usd, DOLLAR_PLACES)
    return RowCalls(row.row_no, row.id, row.attempts, round(row.seconds, 3), known)
