"""A hundred comparisons from end to end in each of two worlds: the command, a ledger of its own, a simulator over HTTP.

In the first the middle one of three models is the right one to name; in the second all of them are just below the
target, and none may be certified.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping

from llmbatch.grade.stats import clopper_pearson
from tests.candidates.nights import Trial, trials
from tests.candidates.worlds import NONE_FIT, THREE, Truth

TARGET = 0.9


def said(words: str, hits: int, of: int, target: str, *, met: bool) -> bool:
    """Print one line."""
    interval = clopper_pearson(hits, of)
    span = f"{hits / of:.1%} ({interval.low:.1%} to {interval.high:.1%})"
    print(f"{words:<52}{hits:>5} of {of:<5}{span:<28}{target:>7} {'pass' if met else 'FAIL'}", flush=True)
    return met


def world(words: str, truths: Mapping[str, Truth], number: int, jobs: int, *, best: str | None) -> bool:
    """All trials of a world; whether its targets are met."""
    began, found = time.monotonic(), list[Trial]()
    for one in trials(number, truths, TARGET, jobs):
        found.append(one)
        if one.wrong or one.named != best:
            print(f"  seed {one.seed}: named {one.named}, certified {', '.join(one.certified) or 'none'}", flush=True)
    hits, false = sum(one.named == best for one in found), sum(one.wrong for one in found)
    named = said(f"{words}: {best or 'none'} named", hits, number, ">= 95 %", met=hits >= 0.95 * number)
    certified = said(f"{words}: one below certified", false, number, "<= 5 %", met=false <= 0.05 * number)
    cpu = sum(one.cpu_s for one in found) / number
    print(f"{cpu:.1f} s of CPU a trial, {time.monotonic() - began:.0f} s")
    return named and certified


def main() -> int:
    """Measure, print, and exit 1 when a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=100, help="in each world")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    asked = parser.parse_args()
    fine = world("88 %, 98 %, 99.5 % right", THREE, asked.trials, asked.jobs, best="middle")
    fine &= world("three of 89.9 % right", NONE_FIT, asked.trials, asked.jobs, best=None)
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
