"""RunReport: the fields of report.json, in its order. Later releases add fields, and change none.

Dollars are Decimals here and JSON numbers, rounded to 10 places, in report.json, so that other programs can add them.
A field that is null is unknown; it is never a zero.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

from pydantic import TypeAdapter

from llmbatch.grade import Graded, Quality
from llmbatch.report.details import Dollars, FailedRow, Judging, PastRun, RowCalls, Schedule, Timeline
from llmbatch.report.rungs import Ladder


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows by outcome."""

    total: int
    done: int
    reused: int
    failed: int
    skipped: int
    pending: int

    @property
    def valid(self) -> int:
        """Rows that have an output."""
        return self.done + self.reused


@dataclass(frozen=True, slots=True)
class Changes:
    """The input against the run before it."""

    reused: int  #: rows whose request was asked before
    new: int  #: rows that the last run did not have
    changed: int | None  #: rows with a known id and another request; None without an id column
    gone: int  #: rows of the last run that this input lacks


@dataclass(frozen=True, slots=True)
class Attempts:
    """This run's calls by what became of them."""

    sent: int
    ok: int  #: answered and valid
    invalid: int  #: answered and invalid
    rate_limited: int
    timeout: int
    transient: int
    rejected: int
    possibly_paid_twice: int  #: brought nothing, and the provider may bill them
    refused: int = 0
    repaired: int = 0  #: answers whose JSON was mended before it was read
    hedged: int = 0  #: calls made beside one that was far too slow


@dataclass(frozen=True, slots=True)
class TokenCounts:
    """Tokens of this run; cached ones are a part of the input, reasoning ones of the output."""

    input: int
    cached: int
    output: int
    reasoning: int


@dataclass(frozen=True, slots=True)
class ModelCost:
    """What one returned model cost."""

    model: str
    attempts: int  #: answered ones
    input: int
    cached: int
    output: int
    reasoning: int
    cost_usd: Dollars | None
    unpriced_attempts: int


@dataclass(frozen=True, slots=True)
class TierCost:
    """What one returned service tier cost."""

    tier: str  #: as returned; the standard one by any of its names is "standard"
    attempts: int  #: answered ones
    cost_usd: Dollars | None
    unpriced_attempts: int


@dataclass(frozen=True, slots=True)
class VersionCost:
    """What one prompt version cost over all its runs in the ledger, this one included."""

    prompt_version: str
    label: str | None
    runs: int
    attempts: int  #: answered ones
    cost_usd: Dollars | None
    unpriced_attempts: int
    # of the newest of its last runs that tells it
    score: float | None = None  #: mean of the first grader
    invalid_rate: float | None = None  #: of answers
    p50_ms: float | None = None  #: latency


@dataclass(frozen=True, slots=True)
class Cost:
    """This run's bill."""

    total_usd: Dollars | None  #: of the priced attempts; null when there are attempts and none is priced
    invalid_usd: Dollars | None  #: the part spent on invalid answers
    saved_by_reuse_usd: Dollars | None  #: what the reused replies cost when they were paid for
    by_model: tuple[ModelCost, ...]
    unpriced_attempts: int
    price_source: str
    possibly_paid_usd: Dollars | None = None  #: what attempts that brought nothing can cost beyond the total, at most
    by_tier: tuple[TierCost, ...] = ()
    by_prompt_version: tuple[VersionCost, ...] = ()  #: of the whole ledger, newest first
    saved_by_cache_usd: Dollars | None = None  #: cached tokens at the price of fresh ones, less what was paid
    saved_by_tier_usd: Dollars | None = None  #: batch and flex answers at the standard price, less what was paid
    per_1000_rows_usd: Dollars | None = None  #: by rows that have an outcome
    per_1000_done_usd: Dollars | None = None  #: by rows done: what an answer costs, waste included


@dataclass(frozen=True, slots=True)
class LatencyBar:
    """Answers within a span of latency."""

    from_ms: float
    to_ms: float
    count: int


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds from sending to the last byte, of answered attempts."""

    p50: float | None
    p95: float | None
    p99: float | None
    histogram: tuple[LatencyBar, ...] = ()


@dataclass(frozen=True, slots=True)
class Throughput:
    """Speed of the whole run."""

    rows_per_s: float | None  #: rows that have an outcome, by wall time


@dataclass(frozen=True, slots=True)
class LimitChange:
    """A change of a limit, or a pause."""

    at_s: float  #: since the start of the run
    what: str  #: concurrency, requests_per_minute, tokens_per_minute, pause (seconds) or breaker (1 open, 0 closed)
    value: float | None  #: the new value; null: no longer limited
    reason: str
    model: str | None = None  #: with a ladder: whose limit


@dataclass(frozen=True, slots=True)
class Limits:
    """How far the provider was driven."""

    concurrency_final: int | None
    changes: tuple[LimitChange, ...] = ()
    budget_usd: Dollars | None = None


@dataclass(frozen=True, slots=True)
class ResumedRun:
    """An earlier run over the same input that this one went on from."""

    run_id: str
    cost_usd: Dollars | None


@dataclass(frozen=True, slots=True)
class DollarRange:
    """What something will probably cost."""

    low: Dollars
    likely: Dollars
    high: Dollars


@dataclass(frozen=True, slots=True)
class Planned:
    """What the requests that this run sent were expected to use, by what was known when it began."""

    calls: int  #: re-asks and retries included
    input_tokens: int
    output_tokens: int
    cost_usd: DollarRange | None  #: null when no price is known
    basis: str  #: what it rests on, in words


@dataclass(frozen=True, slots=True)
class RunReport:
    """One run, as report.json has it."""

    run_id: str
    pipeline: str
    prompt_version: str
    status: str
    exit_code: int
    started_at: str  #: ISO 8601, UTC
    ended_at: str
    wall_s: float
    rows: Rows
    failures: dict[str, int]  #: failed rows by class, most first
    attempts: Attempts
    tokens: TokenCounts
    cost: Cost
    latency_ms: Latency
    throughput: Throughput
    limits: Limits
    prompt_label: str | None = None
    model: str | None = None  #: as asked
    input: tuple[str, ...] = ()
    command: tuple[str, ...] = ()  #: what was typed
    skips: dict[str, int] = field(default_factory=dict)  #: skipped rows by class, most first
    changes: Changes | None = None  #: null when there is no run to compare with, or no way to tell pending rows
    resumed: tuple[ResumedRun, ...] = ()
    structured_output: str | None = None  #: how the server was asked for the shape of its answer
    files: dict[str, str] = field(default_factory=dict)  #: what was written: name and path
    notes: tuple[str, ...] = ()
    planned: Planned | None = None  #: null when the run sent nothing
    timeline: Timeline | None = None
    examples: tuple[FailedRow, ...] = ()  #: three of each class
    slowest: tuple[RowCalls, ...] = ()  #: ten, the slowest first
    dearest: tuple[RowCalls, ...] = ()  #: ten, the dearest first
    trend: tuple[PastRun, ...] = ()  #: the last 30 runs before this one that ended, oldest first
    quality: Quality | None = None  #: null when no results were written
    judging: tuple[Judging, ...] = ()  #: as it stands when the report is shown; empty in report.json
    ladder: Ladder | None = None  #: null when one model was asked
    schedule: Schedule | None = None  #: of a run at tier auto

    @property
    def reconciles(self) -> bool:
        """Whether every row has exactly one outcome."""
        rows = self.rows
        return rows.total == rows.done + rows.reused + rows.failed + rows.skipped + rows.pending

    @property
    def unasked(self) -> tuple[str, ...]:
        """Graders that ask a model, and were asked neither by the run nor, so far, about it."""
        if self.quality is None:
            return ()
        asked = {one.grader for one in self.judging} | {graded.name for graded in self.quality.graders}
        return tuple(name for name in self.quality.unasked if name not in asked)


def with_grades(report: RunReport, graders: Sequence[Graded]) -> RunReport:
    """The report with these grades, in place of those of the same name. One without quality stays as it is."""
    if report.quality is None:
        return report
    new = {graded.name: graded for graded in graders}
    kept = [new.pop(graded.name, graded) for graded in report.quality.graders]
    return replace(report, quality=replace(report.quality, graders=(*kept, *new.values())))


def to_json(report: RunReport) -> dict[str, Any]:
    """The report as report.json has it, ready for a JSON encoder."""
    shape: dict[str, Any] = _adapter().dump_python(report, mode="json")
    return shape


def from_json(shape: Mapping[str, Any]) -> RunReport:
    """Read report.json, of this release or of another: unknown fields are passed over.

    Raises ValueError (pydantic's) when a field is missing or of the wrong type.
    """
    return _adapter().validate_python(shape)


@cache
def _adapter() -> TypeAdapter[RunReport]:
    return TypeAdapter(RunReport)
