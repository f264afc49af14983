"""The running sums of a run: an Observer that progress, the status file and the report read.

Constant memory: counts, sums and a latency histogram, never a list of rows. Displays read it from threads of their
own, so a dict is copied before it is walked.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import NamedTuple

from llmbatch.tally.examples import Examples
from llmbatch.tally.extremes import Extremes
from llmbatch.tally.histogram import Histogram
from llmbatch.tally.timeline import Timeline
from llmbatch.types import STANDARD, Attempt, Outcome, Reply, Rung, Status, Verdict

_NAMES = 100  #: models and tiers told apart; a server may call each answer's model differently
_OTHERS = "(others)"
_REUSED, _FAILED, _SKIPPED = Status.REUSED, Status.FAILED, Status.SKIPPED  # an Enum's own look-up takes 0.3 us


class Saved(NamedTuple):
    """Dollars that an answer would have cost more; None where that is unknown."""

    by_cache: Decimal | None
    by_tier: Decimal | None


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
class RungSum:
    """What one model of a ladder was asked, and what became of the rows there."""

    rows: int = 0  #: that came to it
    served: int = 0  #: by its answers
    climbed: Counter[str] = field(default_factory=Counter)  #: rows that left it for the next model, by class
    failed: int = 0  #: rows that ended there, without a valid answer of any model
    calls: int = 0  #: of this run
    paid: ModelSum = field(default_factory=ModelSum)  #: of this run's answers
    worth_usd: Decimal = Decimal(0)  #: of the replies that rows were judged on there, whenever they were paid
    worth_rows: int = 0  #: rows of which that is known

    def attempted(self, attempt: Attempt) -> None:
        """Count a call."""
        self.calls += 1
        if attempt.reply is not None:
            self.paid.add(attempt)

    def left(self, rung: Rung, outcome: Outcome, *, last: bool) -> None:
        """Count what became of a row there."""
        self.rows += 1
        if rung.cost_usd is not None:
            self.worth_usd += rung.cost_usd
            self.worth_rows += 1
        valid = outcome.status in (Status.DONE, Status.REUSED)
        self.served += valid and rung.key == outcome.key
        if not last:
            self.climbed[rung.failure or "unknown"] += 1
        elif not valid:
            self.failed += 1


@dataclass(frozen=True, slots=True)
class BatchState:
    """A provider batch that is open."""

    id: str  #: the provider's; ours as long as it is not created
    status: str  #: the provider's word; meant or created before it was heard
    made_at: float  #: seconds since the epoch
    requests: int
    completed: int  #: as the provider last said
    failed: int
    worst_usd: Decimal | None  #: what it can cost at most


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
    saved_by: Callable[[Attempt], Saved | None] | None = None  #: what cache and tier saved; None: nothing
    saved_by_cache_usd: Decimal = Decimal(0)
    saved_by_tier_usd: Decimal = Decimal(0)
    latency_s: Histogram = field(default_factory=Histogram)
    examples: Examples = field(default_factory=Examples)
    extremes: Extremes = field(default_factory=Extremes)
    timeline: Timeline = field(default_factory=Timeline)
    notes: list[str] = field(default_factory=list)
    batches: tuple[BatchState, ...] = ()  #: open at the provider
    ladder: tuple[str, ...] = ()  #: models, when there are several
    rungs: dict[str, RungSum] = field(default_factory=dict)  #: by model of the ladder, as asked

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
        self.extremes.attempted(attempt)
        if self.ladder and attempt.model is not None:
            self.rungs.setdefault(attempt.model, RungSum()).attempted(attempt)
        if attempt.reply is None:
            return
        if attempt.reply.tier != "batch":  # hours in a queue say nothing of how fast calls are
            self.latency_s.add(attempt.latency_s)
        tier = attempt.reply.tier
        _sums(self.by_model, attempt.reply.model or "unknown").add(attempt)
        _sums(self.by_tier, "standard" if tier is None or tier in STANDARD else tier).add(attempt)
        if self.saved_by is not None and (saved := self.saved_by(attempt)) is not None:
            self.saved_by_cache_usd += saved.by_cache or 0
            self.saved_by_tier_usd += saved.by_tier or 0

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
        status = outcome.status
        self.rows[status] += 1
        if status is _REUSED:
            if outcome.rungs:
                self.saved_usd += sum((rung.cost_usd or Decimal(0) for rung in outcome.rungs), Decimal(0))
                self.saved_unpriced += any(rung.cost_usd is None for rung in outcome.rungs)
            elif reply is None or reply.cost_usd is None:
                self.saved_unpriced += reply is not None
            else:
                self.saved_usd += reply.cost_usd
        elif status is _FAILED:
            self.failures[outcome.failure or "unknown"] += 1
        elif status is _SKIPPED:
            self.skips[outcome.failure or "unknown"] += 1
        for at, rung in enumerate(outcome.rungs):
            self.rungs.setdefault(rung.model, RungSum()).left(rung, outcome, last=at == len(outcome.rungs) - 1)
        self.extremes.finished(outcome)

    def failed(self, outcome: Outcome, place: str, problem: Callable[[], str]) -> None:
        """Keep the first rows of each class of failure as examples."""
        self.examples.add(outcome, place, problem)

    def told(self, batches: tuple[BatchState, ...]) -> None:
        """Take in how the open batches stand."""
        self.batches = batches

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


def _sums(by_name: dict[str, ModelSum], name: str) -> ModelSum:
    """The sums of a name; beyond a hundred names, those of all others."""
    found = by_name.get(name)
    if found is None:
        found = by_name.setdefault(name if len(by_name) < _NAMES else _OTHERS, ModelSum())
    return found
