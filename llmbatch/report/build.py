"""A run's sums and facts -> RunReport."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal

from llmbatch.grade import Quality
from llmbatch.report.below import calls_of, examples_of, timeline_of
from llmbatch.report.bill import cost_of
from llmbatch.report.details import PastRun, Schedule
from llmbatch.report.ladder import ladder_of
from llmbatch.report.model import (
    Attempts,
    Changes,
    Latency,
    LatencyBar,
    LimitChange,
    Limits,
    Planned,
    ResumedRun,
    Rows,
    RunReport,
    Throughput,
    TokenCounts,
)
from llmbatch.report.rungs import RungScore
from llmbatch.tally import Histogram, ModelSum, Tally
from llmbatch.types import Status

_MAX_BARS = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFacts:
    """What the sums do not know of a run."""

    run_id: str
    pipeline: str
    prompt_version: str
    status: str
    exit_code: int
    started_at: float  #: seconds since the epoch
    ended_at: float
    price_source: str
    label: str | None = None
    model: str | None = None
    input: tuple[str, ...] = ()
    command: tuple[str, ...] = ()  #: what was typed, with nothing secret in it
    concurrency_final: int | None = None
    limit_changes: tuple[LimitChange, ...] = ()
    budget_usd: Decimal | None = None
    resumed: tuple[ResumedRun, ...] = ()
    changes: Changes | None = None
    structured_output: str | None = None
    files: Mapping[str, str] = field(default_factory=dict)
    hedged: int = 0
    notes: tuple[str, ...] = ()
    planned: Planned | None = None
    trend: tuple[PastRun, ...] = ()
    quality: Quality | None = None
    rung_scores: Mapping[str, Mapping[str, RungScore]] = field(default_factory=dict)  #: by model of the ladder, grader
    schedule: Schedule | None = None


def build(tally: Tally, facts: RunFacts) -> RunReport:
    """The report of a run that has ended, however it ended. Rows without an outcome are pending."""
    wall_s = max(0.0, facts.ended_at - facts.started_at)
    rows = _rows(tally)
    return RunReport(
        run_id=facts.run_id,
        pipeline=facts.pipeline,
        prompt_version=facts.prompt_version,
        status=facts.status,
        exit_code=int(facts.exit_code),
        started_at=moment(facts.started_at),
        ended_at=moment(facts.ended_at),
        wall_s=round(wall_s, 3),
        rows=rows,
        failures=dict(tally.failures.most_common()),
        attempts=_attempts(tally, facts.hedged),
        tokens=_tokens(tally.by_model),
        cost=cost_of(tally, facts.price_source),
        latency_ms=_latency(tally.latency_s),
        throughput=Throughput(round((rows.total - rows.pending) / wall_s, 3) if wall_s else None),
        limits=Limits(facts.concurrency_final, facts.limit_changes, facts.budget_usd),
        prompt_label=facts.label,
        model=facts.model,
        input=facts.input,
        command=facts.command,
        skips=dict(tally.skips.most_common()),
        changes=facts.changes,
        resumed=facts.resumed,
        structured_output=facts.structured_output,
        files=dict(facts.files),
        notes=(*tally.notes, *(note for note in facts.notes if note not in tally.notes)),
        planned=facts.planned,
        timeline=timeline_of(tally.timeline),
        examples=examples_of(tally),
        slowest=tuple(map(calls_of, tally.extremes.slowest())),
        dearest=tuple(map(calls_of, tally.extremes.dearest())),
        trend=facts.trend,
        quality=facts.quality,
        ladder=ladder_of(tally, facts.rung_scores),
        schedule=facts.schedule
        and replace(facts.schedule, met=rows.pending == 0 and moment(facts.ended_at) <= facts.schedule.deadline),
    )


def moment(epoch: float) -> str:
    """A time in seconds since the epoch, as reports tell it: ISO 8601, UTC."""
    return datetime.fromtimestamp(epoch, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _rows(tally: Tally) -> Rows:
    ended = {status.value: tally.rows[status] for status in Status if status is not Status.PENDING}
    return Rows(total=tally.total, **ended, pending=max(0, tally.total - sum(ended.values())))


def _attempts(tally: Tally, hedged: int) -> Attempts:
    return Attempts(
        sent=tally.sent,
        ok=tally.valid,
        invalid=tally.invalid,
        rate_limited=tally.attempts["rate_limited"],
        timeout=tally.attempts["timeout"],
        transient=tally.attempts["transient"],
        rejected=tally.attempts["rejected"],
        possibly_paid_twice=tally.possibly_paid,
        refused=tally.attempts["refused"],
        repaired=tally.repaired,
        hedged=hedged,
    )


def _tokens(by_model: Mapping[str, ModelSum]) -> TokenCounts:
    sums = by_model.values()
    return TokenCounts(
        input=sum(m.input for m in sums),
        cached=sum(m.cached for m in sums),
        output=sum(m.output for m in sums),
        reasoning=sum(m.reasoning for m in sums),
    )


def _latency(seconds: Histogram) -> Latency:
    quantiles = [seconds.quantile(q) for q in (0.50, 0.95, 0.99)]
    p50, p95, p99 = (None if q is None else round(q * 1000, 1) for q in quantiles)
    return Latency(p50, p95, p99, _bars(seconds))


def _bars(seconds: Histogram) -> tuple[LatencyBar, ...]:
    """Bars of equal width on a logarithmic axis, without gaps: 24, or one per octave where the span is wider."""
    values = {_value(bucket) * 1000: count for bucket, count in seconds.counts.items()}
    for per_octave in (4, 2, 1):
        bars: Counter[int] = Counter()
        for ms, count in values.items():
            bars[math.floor(math.log2(ms) * per_octave)] += count
        if not bars or max(bars) - min(bars) < _MAX_BARS:
            break
    if not bars:
        return ()
    edge = [float(f"{2 ** (at / per_octave):.3g}") for at in range(min(bars), max(bars) + 2)]
    return tuple(LatencyBar(edge[i], edge[i + 1], bars[min(bars) + i]) for i in range(len(edge) - 1))


def _value(bucket: int) -> float:
    return Histogram(Counter({bucket: 1}), 1).quantile(1.0) or 0.0
