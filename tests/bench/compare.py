"""How often `llmbatch compare` names the right model, and how often it certifies one that is not good enough.

The decision is a pure function of scores and prices, and is tried thousands of times.
`python -m tests.campaign.compare` tries the whole command.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping

from llmbatch.grade.stats import clopper_pearson
from tests.candidates.worlds import NONE_FIT, THREE, Truth, below, named, partly, right, trial

TARGET = 0.9


def share(name: str, hits: int, of: int, target: str, met: bool | None) -> bool:
    """Print one line; whether its target is met (None: no target)."""
    interval = clopper_pearson(hits, of)
    span = f"{hits / of:7.2%}  ({interval.low:.2%} to {interval.high:.2%})"
    print(
        f"{name:<66}{hits:>6} of {of:<6}{span:<32}{target:>8} {'' if met is None else 'pass' if met else 'FAIL'}",
        flush=True,
    )
    return met is not False


def decisions(
    name: str, world: Mapping[str, Truth], best: str | None, trials: int, rows: int, *, whole: bool = True
) -> bool:
    """Try the decision; ``best`` is the right answer, None where no candidate is good enough."""
    found = [trial(world, TARGET, rows, seed, two_valued=whole) for seed in range(trials)]
    hits = sum(named(world, certified) == best for certified in found)
    false = sum(below(world, certified, TARGET) for certified in found)
    held = best == "middle" and rows == 300
    fine = best is None or share(
        f"{name}: right one named", hits, trials, ">= 95 %" if held else "", hits >= 0.95 * trials if held else None
    )
    return share(f"{name}: one below target certified", false, trials, "<= 5 %", false <= 0.05 * trials) and fine


def main() -> int:
    """Measure, print, and exit 1 when a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=2_000, help="of the decision; bets are tried a tenth as often")
    asked = parser.parse_args()
    began, number = time.monotonic(), asked.trials
    close = {"small": right(0.88, 0.1), "middle": right(0.97, 0.5), "large": right(0.995, 5.0)}
    graded = {"small": partly(0.85, 0.1), "middle": partly(0.95, 0.5)}
    unfit = {"small": partly(0.895, 0.1), "middle": partly(0.899, 0.5)}
    fine = decisions("88 %, 98 %, 99.5 % right, 300 rows, target 90 %", THREE, "middle", number, 300)
    fine &= decisions("88 %, 97 %, 99.5 % right, 300 rows, target 90 %", close, "middle", number, 300)
    fine &= decisions("88 %, 97 %, 99.5 % right, 600 rows, target 90 %", close, "middle", number, 600)
    fine &= decisions("three of 89.9 % right, 300 rows, target 90 %", NONE_FIT, None, number, 300)
    fine &= decisions("ten of 89.9 % right, 300 rows, target 90 %", _many(10), None, number, 300)
    fine &= decisions("scores 0, 1/2, 1; means 85 %, 95 %; 600 rows", graded, "middle", number // 10, 600, whole=False)
    fine &= decisions("scores 0, 1/2, 1; means 89.5 %, 89.9 %; 600 rows", unfit, None, number // 10, 600, whole=False)
    print(f"{time.monotonic() - began:.0f} s")
    return 0 if fine else 1


def _many(number: int) -> dict[str, Truth]:
    return {f"m{n}": right(0.899, 1.0 + n) for n in range(number)}


if __name__ == "__main__":
    sys.exit(main())
