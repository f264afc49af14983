"""What no comparison of nights can do better: how often a fall of 3 points can be seen at all, computed, not simulated.

Known: the most powerful test there is, by Neyman and Pearson's lemma: of rows that are right or wrong independently,
against a share known exactly, with the whole error of 1 % spent on it. It turns down the lowest counts of right rows
(exact binomial tails, with chance at the last count, so that the error is used up).
Pooled: against fourteen nights of as many rows, at the part of the error that a run gives its one grader, by the
normal distribution. What a run does sees fewer still, because it has to learn how far nights differ by nature.
"""

from __future__ import annotations

import math

from llmbatch.grade import drift, falls, move
from llmbatch.grade.drift import ALPHA
from llmbatch.grade.stats.special import binomial_at_most, normal_above, normal_quantile

ROWS, NIGHTS, FALL = 2_000, 14, 0.03
_KINDS = (drift._SCORES, drift._RATES, drift._MIXES, drift._SPREADS)
_TESTS = (move.DIRE, move.WELCOME, falls._TWO_NIGHTS)
PART = drift._SCORES / sum(_KINDS) * move.DIRE / sum(_TESTS)  #: of ALPHA, for a fall of the only grader tonight


def known(share: float, rows: int = ROWS, alpha: float = ALPHA) -> float:
    """How often the best test of all sees the fall."""
    least = 0
    while binomial_at_most(least, rows, share) <= alpha:
        least += 1
    below, at = (binomial_at_most(n, rows, share) for n in (least - 1, least))
    part = (alpha - below) / (at - below)
    below, at = (binomial_at_most(n, rows, share - FALL) for n in (least - 1, least))
    return below + part * (at - below)


def against_nights(share: float, rows: int = ROWS, alpha: float = PART * ALPHA) -> float:
    """How often the pooled z of two shares sees it."""
    now, before = share - FALL, NIGHTS * rows
    pooled = (now + share * NIGHTS) / (1 + NIGHTS)
    chance = math.sqrt(pooled * (1 - pooled) * (1 / rows + 1 / before))
    spread = math.sqrt(now * (1 - now) / rows + share * (1 - share) / before)
    return 1 - normal_above((FALL - normal_quantile(1 - alpha) * chance) / spread)


def rows_wanted(share: float, power: float = 0.9) -> int:
    """Rows a night with which the pooled z sees it so often, to the next hundred."""
    rows = 100
    while against_nights(share, rows) < power:
        rows += 100
    return rows


def main() -> None:
    """Print a line for each share."""
    print(f"a fall of {FALL:.0%} in {ROWS:,} rows, error {ALPHA:.0%}")
    print("right    known share   14 nights   rows for 90 %")
    for share in (0.97, 0.95, 0.93, 0.9, 0.87, 0.85, 0.8, 0.7, 0.5):
        print(f"{share:>5.0%}{known(share):>15.1%}{against_nights(share):>12.1%}{rows_wanted(share):>16,}")


if __name__ == "__main__":
    main()
