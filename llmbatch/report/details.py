"""Parts of a report below its sums: time, single rows, earlier runs. And how dollars are written."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, TypeAlias

from pydantic import PlainSerializer

DOLLAR_PLACES = 10

Dollars: TypeAlias = Annotated[
    Decimal, PlainSerializer(lambda dollars: float(round(dollars, DOLLAR_PLACES)), return_type=float, when_used="json")
]


@dataclass(frozen=True, slots=True)
class TimelinePoint:
    """What happened in one span of time."""

    at_s: float  #: when it began, since the start of the run
    rows_per_s: float  #: rows that got their outcome
    answers_per_s: float
    in_flight: int  #: at the busiest look
    concurrency: int  #: calls that might be in flight, at the end
    cost_usd: float  #: spent in it, as far as it is priced
    paused_s: float = 0.0  #: of its seconds, those in which sending was paused
    down_s: float = 0.0  #: and those in which the provider was down and was probed


@dataclass(frozen=True, slots=True)
class Timeline:
    """Speed over time: at most 240 points, whatever the run's length."""

    every_s: float  #: length of a point's span; spans in which nobody looked are absent
    points: tuple[TimelinePoint, ...] = ()


@dataclass(frozen=True, slots=True)
class FailedRow:
    """A row that failed or was skipped, as an example of its class."""

    status: str
    failure: str  #: the class
    row_no: int
    id: str | None
    key: str | None
    place: str  #: file and line
    problem: str  #: without the row's text
    text: str | None = None  #: the rendered text; only with --with-text, never stored


@dataclass(frozen=True, slots=True)
class RowCalls:
    """What the calls of one row took."""

    row_no: int
    id: str | None
    attempts: int
    seconds: float  #: of all its calls together, without waiting for limits
    cost_usd: Dollars | None


@dataclass(frozen=True, slots=True)
class PastRun:
    """An earlier run, for the trend."""

    run_id: str
    started_at: str
    status: str
    prompt_version: str
    rows: int
    done: int
    cost_usd: Dollars | None
    per_1000_rows_usd: Dollars | None
    per_1000_done_usd: Dollars | None


@dataclass(frozen=True, slots=True)
class Judging:
    """What asking a grader's own model about the run cost, all times together. It is not in the run's own bill."""

    grader: str
    runs: int  #: times that it was asked
    calls: int  #: attempts of these runs
    cost_usd: Dollars | None  #: null when a price is unknown
