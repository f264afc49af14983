"""What can have moved, and what every test of it shares: directions, and nights that differ by nature."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import fmean
from typing import TypeVar

from llmbatch.grade.stats import Interval
from llmbatch.grade.stats.special import normal_above, normal_for

T = TypeVar("T")
LEAST_ROWS = 50  #: newly answered rows, tonight and on each trailing night; fewer say nothing
DIRE, WELCOME = 20, 1  #: weights of the two directions of what can be better or worse
#: parts that say what else changed rather than how good the answers are; they never fail a run
CONTEXT = frozenset(
    {"input_chars", "input_tokens", "language", "latency_ms", "micro_usd", "model", "output_tokens", "fingerprint"}
)


@dataclass(frozen=True, slots=True)
class Move:
    """Something that is not as it was."""

    what: str  #: ``grader tags``, ``refusal``, ``tags: billing``, ``output_chars``
    before: float | None  #: mean score, share of rows, or median
    now: float | None
    interval: Interval | None  #: of the change of a score or share, 95 %; None for spreads
    p: float  #: of this test alone, after allowing for nights that differ by nature
    worse: bool | None  #: None: neither better nor worse, but different
    context: bool  #: says what changed around the answers, not how good they are


@dataclass(frozen=True, slots=True)
class Test:
    """One hypothesis: that one thing moved one way."""

    move: Move
    weight: float
    matters: bool


def dispersion(nights: Sequence[T], z_of: Callable[[T, Sequence[T]], float]) -> float:
    """How many times as far apart the trailing nights are as chance explains, as variance; at least 1."""
    if len(nights) < 3:
        return 1.0
    others = ([*nights[:i], *nights[i + 1 :]] for i in range(len(nights)))
    return max(1.0, fmean(z_of(night, rest) ** 2 for night, rest in zip(nights, others, strict=True)))


def allowing(p: float, phi: float) -> float:
    """A one-sided p among nights that vary ``phi`` times as much as chance would have it."""
    return normal_above(normal_for(p) / sqrt(phi)) if phi > 1 else p
