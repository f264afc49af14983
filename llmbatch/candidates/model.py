"""What a comparison found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from llmbatch.candidates.decide import Certificate
from llmbatch.grade.stats import Interval


@dataclass(frozen=True, slots=True)
class Goal:
    """What is wanted of a candidate."""

    min_quality: float | None = None  #: mean score, 0 to 1
    max_cost: float | None = None  #: dollars per 1,000 rows
    within_s: float | None = None  #: seconds for the whole input

    @property
    def any(self) -> bool:
        """Whether a candidate is to be named."""
        return any(part is not None for part in (self.min_quality, self.max_cost, self.within_s))


@dataclass(frozen=True, slots=True)
class Candidate:
    """A model with a prompt, and how it did."""

    name: str
    model: str
    prompt: str  #: file name
    prompt_version: str
    rows: int
    failed: int  #: of these, without a valid answer: score 0
    mean: float  #: score of the deciding grader, over both halves
    interval: Interval  #: of it, 95 %
    scores: Mapping[str, float]  #: mean by grader
    invalid_rate: float | None  #: of first replies; None without one
    usd_per_1000: Mapping[str, float | None]  #: by tier; None where no price is known
    price: float | None  #: at the pipeline's own tier
    p50_ms: float | None  #: latency of a call
    p95_ms: float | None
    rows_per_hour: float | None  #: under the limits as far as they are known
    limited_by: str | None  #: the limit that says so
    calls: int  #: that the comparison made for it
    cost_usd: float | None  #: of those calls; None when a price is unknown
    reused: int  #: rows that stored replies answered
    run_id: str
    efficient: bool = False  #: no other is as good for less, or better for as much


@dataclass(frozen=True, slots=True)
class Comparison:
    """A whole comparison."""

    pipeline: str
    input: tuple[str, ...]
    fingerprint: str  #: of the input's bytes
    total: int  #: rows of the input
    rows: int  #: rows asked
    seed: int
    grader: str  #: the deciding one
    tier: str
    at: str  #: ISO 8601, UTC
    goal: Goal
    candidates: tuple[Candidate, ...]  #: cheapest first
    certificates: tuple[Certificate, ...]  #: in the order in which they were tested
    named: str | None  #: the candidate to take; None when none is fit, or nothing was asked for
    reason: str  #: why this one, or why none
    written: str | None = None  #: the file that has the choice now
    notes: tuple[str, ...] = field(default=())

    def certificate(self, name: str) -> Certificate | None:
        """Of a candidate; None when it did not come to the test."""
        return next((found for found in self.certificates if found.name == name), None)
