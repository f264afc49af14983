"""Many tests at once: which of them may be believed together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """One test among many."""

    p: float
    weight: float = 1.0  #: its part of the error that all may make together, relative to the others


def holm(tests: Sequence[Hypothesis], alpha: float) -> list[bool]:
    """Which tests are significant, so that under no change any is with probability ``alpha`` at most.

    S. Holm, A simple sequentially rejective multiple test procedure, Scandinavian Journal of Statistics 6 (1979)
    65-70; the weighted form is its section 4. Holds whatever the dependence of the tests. Tests of weight 0 are not.
    """
    order = sorted((i for i, test in enumerate(tests) if test.weight > 0), key=lambda i: tests[i].p / tests[i].weight)
    left = sum(test.weight for test in tests if test.weight > 0)
    significant = [False] * len(tests)
    for i in order:
        if tests[i].p * left > alpha * tests[i].weight:
            break
        significant[i] = True
        left -= tests[i].weight
    return significant
