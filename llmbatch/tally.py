"""The running sums of a run: an Observer that progress, the status file and the report read.

Constant memory: counts, sums and a latency histogram, never a list of rows. Displays read it from threads of their
own, so a dict is copied before it is walked.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from decimal import Decimal

from llmbatch.types import STANDARD, Attempt, Outcome, Reply, Status, Verdict

_BUCKETS_PER_OCTAVE = 16  #: neighbours differ by 4.4 %, so a quantile is within 2.2 %


@dataclass(slots=True)
class Histogram:
    """Positive values in logarithmic buckets; quantiles within 2.2 %."""

    counts: Counter[int] = field(default_factory=Counter)
    total: int = 0

    def add(self, value: float) -> None:
        """Count one value (seconds, milliseconds: the caller's unit)."""
        self.counts[round(math.log2(max(value, 1e-6)) * _BUCKETS_PER_OCTAVE)] += 1
        self.total += 1

    def quantile(self, q: float) -> float | None:
        """The value below which a share ``q`` lies; None when empty."""
        seen, rank = 0, q * self.total
        for bucket in sorted(self.counts):
            seen += self.counts[bucket]
            if seen >= rank:
                return float(2 ** (bucket / _BUCKETS_PER_OCTAVE))
        return None


@dataclass(slots=True)
class ModelSum:
    """What one returned model, or one tier, cost in this run."""

    attempts: int = 0
    input: int = 0
    cached: int = 0
    output: int = 0
    reasoning: int = 0
    cost_usd: Decimal = Decimal(0)
    unpriced: int = 0

    def add(self, attempt: Attempt) -> None:
        """Count an answered attempt."""
        self.attempts += 1
        if attempt.reply is not None and (usage := attempt.reply.usage):
            self.input += usage.input
            self.cached += usage.cached
            self.output += usage.output
            self.reasoning += usage.reasoning
        if attempt.cost_usd is None:
            self.unpriced += 1
        else:
            self.cost_usd += attempt.cost_usd


@dataclass(slots=True)
class Tally:
    """Counts and sums of one run."""

    total: int = 0
    rows: Counter[Status] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)  #: failed rows by class
    skips: Counter[str] = field(default_factory=Counter)  #: skipped rows by class
    attempts: Counter[str] = field(default_factory=Counter)  #: by Attempt.outcome
    valid: int = 0  #: replies this run paid for that judged valid
    invalid: int = 0
    repaired: int = 0
    possibly_paid: int = 0  #: attempts that brought nothing and may be billed
    possibly_paid_usd: Decimal = Decimal(0)  #: what they can have cost at most
    possibly_paid_unpriced: int = 0  #: those of them without a known bound
    by_model: dict[str, ModelSum] = field(default_factory=dict)
    by_tier: dict[str, ModelSum] = field(default_factory=dict)  #: by the tier returned; "standard" where none is named
    invalid_usd: Decimal = Decimal(0)
    invalid_unpriced: int = 0  #: invalid replies whose price is unknown
    saved_usd: Decimal = Decimal(0)
    saved_unpriced: int = 0  #: reused replies whose price is unknown
    latency_s: Histogram = field(default_factory=Histogram)
    notes: list[str] = field(default_factory=list)

    def planned(self, total: int) -> None:
        """Take the number of rows of the input."""
        self.total = total

    def attempted(self, attempt: Attempt) -> None:
        """Count a call, its tokens and its cost."""
        self.attempts[attempt.outcome] += 1
        if attempt.possibly_paid:
            self.possibly_paid += 1
            self.possibly_paid_usd += attempt.worst_usd or 0
            self.possibly_paid_unpriced += attempt.worst_usd is None
        if attempt.reply is None:
            return
        self.latency_s.add(attempt.latency_s)
        self.by_model.setdefault(attempt.reply.model or "unknown", ModelSum()).add(attempt)
        tier = attempt.reply.tier
        tier = "standard" if tier is None or tier in STANDARD else tier
        self.by_tier.setdefault(tier, ModelSum()).add(attempt)

    def judged(self, reply: Reply, verdict: Verdict) -> None:
        """Count a paid reply as valid or invalid."""
        self.valid += verdict.valid
        self.invalid += not verdict.valid
        self.repaired += verdict.repaired
        if not verdict.valid:
            self.invalid_usd += reply.cost_usd or 0
            self.invalid_unpriced += reply.cost_usd is None

    def finished(self, outcome: Outcome, reply: Reply | None) -> None:
        """Count a row's outcome."""
        self.rows[outcome.status] += 1
        if outcome.status is Status.FAILED:
            self.failures[outcome.failure or "unknown"] += 1
        elif outcome.status is Status.SKIPPED:
            self.skips[outcome.failure or "unknown"] += 1
        elif outcome.status is Status.REUSED and reply is not None:
            self.saved_usd += reply.cost_usd or 0
            self.saved_unpriced += reply.cost_usd is None

    def noted(self, message: str) -> None:
        """Keep what a person should know, once."""
        if message not in self.notes:
            self.notes.append(message)

    @property
    def sent(self) -> int:
        """Calls made."""
        return self.attempts.total()

    @property
    def settled(self) -> int:
        """Rows that have an outcome."""
        return self.rows.total()

    @property
    def cost_usd(self) -> Decimal:
        """Dollars of this run's attempts, as far as they are priced."""
        return sum((m.cost_usd for m in tuple(self.by_model.values())), Decimal(0))

    @property
    def unpriced(self) -> int:
        """Answered attempts without a known price."""
        return sum(m.unpriced for m in tuple(self.by_model.values()))
