"""From stored replies to what a candidate's rows scored, cost and took: the same for rows asked now and reused ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from statistics import fmean
from typing import Any

from llmbatch.candidates.model import Candidate
from llmbatch.grade import Grader, counted, interval_of
from llmbatch.limits.state import LimitState
from llmbatch.types import Json, Reply, Row
from llmbatch.validate import Judge

TIERS = ("standard", "flex", "batch")
#: dollars of (reply, model asked, tier); None when unknown
Cost = Callable[[Reply, str, str], Decimal | None]
Output = Mapping[str, Json]


@dataclass(frozen=True, slots=True)
class Tried:
    """What became of one row."""

    row_no: int
    scores: Mapping[str, float]  #: by grader; without those that have no gold for it
    failed: bool
    invalid: bool | None  #: the first reply was; None without one
    latencies: tuple[float, ...] = ()  #: seconds of each call
    tokens: int = 0
    dollars: Mapping[str, Decimal | None] | None = None  #: by tier; None: no call was answered

    @property
    def calls(self) -> int:
        """Calls that were answered."""
        return len(self.latencies)


@dataclass(frozen=True, slots=True)
class Used:
    """A reply that was looked at for a row."""

    reply: Reply
    model: str  #: as asked
    valid: bool


def used(row: Row, replies: Sequence[Reply], model: str, judge: Judge) -> tuple[Used, ...]:
    """A model's replies to a row, as the model saw it, up to the first valid one as a run does."""
    seen: list[Used] = []
    for reply in replies:
        seen.append(Used(reply, model, judge.judge(row, reply).valid))
        if seen[-1].valid:
            break
    return tuple(seen)


def tried(
    row_no: int,
    columns: Mapping[str, Json],
    seen: Sequence[Used],
    output: Output | None,
    graders: Mapping[str, Grader],
    cost: Cost,
) -> Tried:
    """What a row's replies cost, and how good its output is; ``columns`` are with gold."""
    graded = ((name, grader.grade(output, dict(columns))) for name, grader in graders.items())
    replies = [one.reply for one in seen]
    return Tried(
        row_no=row_no,
        scores={name: score.value for name, score in graded if score is not None},
        failed=output is None,
        invalid=not seen[0].valid if seen else None,
        latencies=tuple(reply.latency_s for reply in replies),
        tokens=sum(reply.usage.input + reply.usage.output for reply in replies if reply.usage is not None),
        dollars={tier: _sum([cost(one.reply, one.model, tier) for one in seen]) for tier in TIERS} if seen else None,
    )


def _sum(dollars: Sequence[Decimal | None]) -> Decimal | None:
    return sum((part for part in dollars if part is not None), Decimal(0)) if None not in dollars else None


def price(rows: Sequence[Tried], tier: str) -> float | None:
    """Dollars per 1,000 rows; None when a price is unknown, or nothing was answered."""
    paid = [row.dollars[tier] for row in rows if row.dollars is not None]
    whole = _sum(paid)
    return None if whole is None or not paid else float(whole) * 1000 / len(rows)


def measured(known: Candidate, rows: Sequence[Tried], grader: str, tier: str, limits: LimitState) -> Candidate:
    """A candidate of which only the names are known, with all that its rows tell."""
    scores = [row.scores[grader] for row in rows]
    firsts = [row.invalid for row in rows if row.invalid is not None]
    latencies = sorted(latency for row in rows for latency in row.latencies)
    per_hour, limited_by = pace(rows, limits)
    by_tier = {name: price(rows, name) for name in TIERS}
    return replace(
        known,
        rows=len(rows),
        failed=sum(row.failed for row in rows),
        mean=fmean(scores),
        interval=interval_of(counted(scores)),
        scores=_means(rows),
        invalid_rate=fmean(firsts) if firsts else None,
        usd_per_1000=by_tier,
        price=by_tier[tier],
        p50_ms=_quantile(latencies, 0.5),
        p95_ms=_quantile(latencies, 0.95),
        rows_per_hour=per_hour,
        limited_by=limited_by,
    )


def _means(rows: Sequence[Tried]) -> dict[str, float]:
    by_name: dict[str, list[float]] = {}
    for row in rows:
        for name, score in row.scores.items():
            by_name.setdefault(name, []).append(score)
    return {name: fmean(scores) for name, scores in by_name.items()}


def _quantile(ordered: Sequence[float], part: float) -> float | None:
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))] * 1000 if ordered else None


def pace(rows: Sequence[Tried], limits: LimitState) -> tuple[float | None, str | None]:
    """Rows an hour under the tightest of the limits that are known, and which one that is.

    Of concurrency by Little's law: calls in flight / seconds a row keeps one busy.
    """
    calls, tokens = sum(row.calls for row in rows), sum(row.tokens for row in rows)
    busy = sum(latency for row in rows for latency in row.latencies)
    paces: dict[str, Any] = {
        "concurrency": limits.concurrency * 3600 * len(rows) / busy if busy else None,
        "requests_per_minute": _per_hour(limits.requests_per_minute, calls, len(rows)),
        "tokens_per_minute": _per_hour(limits.tokens_per_minute, tokens, len(rows)),
    }
    known = {name: pace for name, pace in paces.items() if pace is not None}
    by = min(known, key=lambda name: known[name], default=None)
    return (None, None) if by is None else (known[by], by)


def _per_hour(a_minute: float | None, used: int, rows: int) -> float | None:
    return a_minute * 60 * rows / used if a_minute is not None and used else None


def on_the_front(candidates: Sequence[Candidate]) -> tuple[Candidate, ...]:
    """The candidates, cheapest first, those marked that no other beats in score and price."""
    priced = sorted(candidates, key=lambda one: (one.price is None, one.price or 0.0, -one.mean))
    seen, marked = -1.0, []
    for one in priced:
        efficient = one.price is not None and one.mean > seen
        seen = max(seen, one.mean) if one.price is not None else seen
        marked.append(replace(one, efficient=efficient))
    return tuple(marked)
