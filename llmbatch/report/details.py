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


@dataclass(frozen=True, slots=True)
class Decision:
    """From here on rows were asked at a tier."""

    at: str  #: ISO 8601, UTC
    at_s: float  #: since the start of the run; below zero: in a run that this one went on from
    tier: str
    reason: str
    rows_left: int  #: without an outcome then
    cancels_batches: bool = False  #: what open batches had not done was cancelled
    beside: int = 0  #: rows asked live while the others were in batches
    measures: bool = False  #: a few rows, to see how fast that is


@dataclass(frozen=True, slots=True)
class Schedule:
    """How a deadline was met, or not."""

    deadline: str  #: ISO 8601, UTC
    rows_per_s: float | None  #: of standard calls under the limits, as last measured
    decisions: tuple[Decision, ...]
    paid_twice: int  #: answers out of cancelled batches to rows that calls had answered meanwhile
    paid_twice_usd: Dollars
    may_be_paid_twice: int  #: requests of cancelled batches that had not ended when the run did
    discount_usd: Dollars | None  #: what cheaper tiers saved, less what was paid twice
    met: bool | None = None  #: whether every row had its outcome in time
