"""A grader's scores of many rows in constant memory, and what they come to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from llmbatch.grade.agreement import Agreement, Pair, agreement
from llmbatch.grade.judged import Judged
from llmbatch.grade.score import Score
from llmbatch.grade.stats import Interval, bootstrap_mean, mean_interval, rows_for_half_width, wilson

_PLACES = 3  #: of a score that are kept: at most 1,001 different ones
_BOOTSTRAP_UP_TO = 2_000  #: rows; beyond, the formula says the same in no time
_WANTED = 0.02  #: half-width that the printed number of rows would give


@dataclass(frozen=True, slots=True)
class Graded:
    """What a grader says of a run."""

    name: str
    rows: int  #: graded, the failed ones too
    failed: int  #: of these, without a valid output: score 0
    ungraded: int  #: rows without gold; they count nowhere
    mean: float | None  #: score from 0 to 1; None when no row was graded
    interval: Interval  #: of the mean, 95 %
    passes: float  #: the score from which a row counts as right
    passed: int  #: rows that do
    pass_interval: Interval  #: of passed / rows, Wilson, 95 %
    wanted_rows: int | None  #: rows that would bring the half-width of the mean down to 0.02
    details: Mapping[str, float] = field(default_factory=dict)  #: means of the parts of the score
    agreement: Agreement | None = None  #: where labels are compared
    floor: float | None = None  #: the mean that is wanted
    judged: Judged | None = None  #: of a grader that asks a judge

    @property
    def below_floor(self) -> bool:
        """Whether the mean is below the floor with confidence: all of its interval is."""
        return self.floor is not None and self.mean is not None and self.interval.high < self.floor


@dataclass(slots=True)
class Scores:
    """Gathers the scores of one grader. Distinct pairs of labels are few, or as many as the graded rows at most."""

    name: str
    passes: float = 1.0
    floor: float | None = None
    counts: Counter[float] = field(default_factory=Counter)  #: rows by score
    failed: int = 0
    ungraded: int = 0
    passed: int = 0
    pairs: Counter[Pair] = field(default_factory=Counter)
    sums: dict[str, list[float]] = field(default_factory=dict)  #: sum and number of each detail

    def add(self, score: Score | None, *, failed: bool) -> None:
        """Count a row."""
        if score is None:
            self.ungraded += 1
            return
        self.counts[round(score.value, _PLACES)] += 1
        self.passed += score.value >= self.passes
        self.failed += failed
        if score.expected is not None and score.given is not None:
            self.pairs[score.expected, score.given] += 1
        for name, value in score.details.items():
            sums = self.sums.setdefault(name, [0.0, 0])
            sums[0] += value
            sums[1] += 1

    def graded(self, *, seed: int = 0) -> Graded:
        """What they come to."""
        rows = self.counts.total()
        mean = mean_of(self.counts) if rows else None
        interval = interval_of(self.counts, seed=seed)
        return Graded(
            name=self.name,
            rows=rows,
            failed=self.failed,
            ungraded=self.ungraded,
            mean=mean,
            interval=interval,
            passes=self.passes,
            passed=self.passed,
            pass_interval=wilson(self.passed, rows),
            wanted_rows=rows_wanted(self.counts),
            details={name: total / number for name, (total, number) in self.sums.items()},
            agreement=agreement(self.pairs),
            floor=self.floor,
        )


def counted(values: Iterable[float]) -> Counter[float]:
    """How often there is each score, to the places that are kept."""
    return Counter(round(value, _PLACES) for value in values)


def mean_of(counts: Mapping[float, int]) -> float:
    """The mean of values given as counts; there must be one."""
    return sum(value * rows for value, rows in counts.items()) / sum(counts.values())


def variance_of(counts: Mapping[float, int]) -> float:
    """The variance by n - 1; 0 for fewer than two."""
    n, mean = sum(counts.values()), mean_of(counts)
    return sum(rows * (value - mean) ** 2 for value, rows in counts.items()) / (n - 1) if n > 1 else 0.0


def interval_of(counts: Mapping[float, int], *, seed: int = 0) -> Interval:
    """The 95 % interval of a mean score.

    Wilson's where every score is 0 or 1; the bootstrap's up to 2,000 rows; Student's beyond.
    """
    n = sum(counts.values())
    if set(counts) <= {0.0, 1.0}:
        return wilson(counts.get(1.0, 0), n)
    if n <= _BOOTSTRAP_UP_TO:
        return bootstrap_mean(counts, seed=seed)
    return mean_interval(mean_of(counts), variance_of(counts), n)


def rows_wanted(counts: Mapping[float, int]) -> int | None:
    """Rows for a half-width of 0.02, from the spread seen; None when nothing was graded."""
    if not counts:
        return None
    if set(counts) <= {0.0, 1.0}:
        return rows_for_half_width(_WANTED, mean_of(counts))
    return max(2, round(variance_of(counts) * (1.96 / _WANTED) ** 2))
