"""What a run looked like, in a form that two runs can be compared by and several put together.

Everything here is counts, so profiles of several runs add up, and memory does not grow with rows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Rate:
    """So many of so many."""

    count: int
    of: int

    @property
    def share(self) -> float:
        """count / of; 0 of none."""
        return self.count / self.of if self.of else 0.0


@dataclass(frozen=True, slots=True)
class Mix:
    """How often each value occurred. A row may have several, so shares need not add up to 1."""

    of: int  #: rows
    counts: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Signature:
    """What was asked, and of whom."""

    prompt_version: str
    model: str
    provider: str  #: address or ``offline``


@dataclass(frozen=True, slots=True)
class Profile:
    """A run's newly answered rows: those that it paid for, never the reused ones, whose replies are last night's.

    Rates are of first replies (before any re-ask), or of rows. Spreads are counts by logarithmic bucket (16 an octave).
    """

    rows: int = 0  #: newly answered or newly failed
    rates: Mapping[str, Rate] = field(default_factory=dict)
    scores: Mapping[str, Mapping[float, int]] = field(default_factory=dict)  #: grader: rows by score
    mixes: Mapping[str, Mix] = field(default_factory=dict)
    spreads: Mapping[str, Mapping[int, int]] = field(default_factory=dict)


def pooled(profiles: Iterable[Profile]) -> Profile:
    """Several profiles as one."""
    rows = 0
    rates: dict[str, Rate] = {}
    scores: dict[str, Mapping[float, int]] = {}
    mixes: dict[str, Mix] = {}
    spreads: dict[str, Mapping[int, int]] = {}
    for profile in profiles:
        rows += profile.rows
        for name, rate in profile.rates.items():
            known = rates.get(name, Rate(0, 0))
            rates[name] = Rate(known.count + rate.count, known.of + rate.of)
        for name, mix in profile.mixes.items():
            before = mixes.get(name, Mix(0, {}))
            mixes[name] = Mix(before.of + mix.of, _added(before.counts, mix.counts))
        for name, counts in profile.scores.items():
            scores[name] = _added(scores.get(name, {}), counts)
        for name, buckets in profile.spreads.items():
            spreads[name] = _added(spreads.get(name, {}), buckets)
    return Profile(rows, rates, scores, mixes, spreads)


def _added(one: Mapping[T, int], two: Mapping[T, int]) -> Counter[T]:
    total = Counter(one)
    total.update(two)
    return total


def median(buckets: Mapping[int, int]) -> float | None:
    """The middle value of a spread, within 2.2 %."""
    n, seen = sum(buckets.values()), 0
    for bucket in sorted(buckets):
        seen += buckets[bucket]
        if 2 * seen >= n:
            return float(2 ** (bucket / 16))
    return None
