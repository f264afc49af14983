"""Nights of --tier auto in earnest, to show that the world of the virtual clock agrees::

    python -m tests.bench.tiers_in_earnest

Each is a run of the program against the simulator, whose batches live under a fast clock, with a deadline within half a
minute; a short night by batches comes first, so that the ledger knows how long those take. The same night is led by the
state machine alone. Prints the cost of both (as a part of the standard price) and whether the deadline was met. What
lies between the two is coarse: a real night of half a minute has pauses of a second.
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from llmbatch.simulator import Batches, BatchFault, Clock, Fault, Latency, Limits, Scenario
from tests.cli.conftest import Shell, serving, tickets
from tests.schedule.worlds import Night, auto

_ROWS, _PER_S, _FILE = 200, 50.0, 20
_SPEED = 100.0  #: seconds of the batches' clock in one
_BEFORE = 2  #: batches of the night before
_FLAGS = (
    "--tier", "auto", "--set", "provider.like=openai", "--set", f"batch.requests={_FILE}", "--set", "batch.poll_s=0.3",
    "--set", "batch.listing_lag_s=0.1", "--set", "batch.cancel_s=2", "--set", "limits.max_failed=0%",
    "--set", "prices.m-1={input=1.0, output=10.0, batch=0.5, flex=0.5}",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Case:
    """A night."""

    name: str
    flex: str  #: free, busy or windows
    before_s: float  #: that batches took the night before, in real seconds
    batch_s: float  #: and take tonight; infinite: never
    deadline_s: float
    windows: tuple[tuple[float, float], ...] = ()


CASES = (
    Case("flex is free", "free", 2.0, 2.0, 30),
    Case("flex is busy, batches are quick", "busy", 2.0, 2.0, 30),
    Case("flex is busy, batches are never done", "busy", 2.0, float("inf"), 30),
    Case("flex is busy, batches take half the night", "busy", 8.0, 14.0, 40),
    Case("flex is busy, batches are too slow", "busy", 8.0, 60.0, 40),
    Case("flex comes back", "windows", 2.0, float("inf"), 40, ((12.0, 100.0),)),
    Case("short of time, batches are quick", "busy", 1.0, 1.0, 12),
)


def scenario(case: Case) -> Scenario:
    """The simulator of a night."""
    faults: tuple[Fault, ...] = ()
    if case.flex == "busy":
        faults = (Fault(kind="flex_unavailable"),)
    elif case.windows:
        faults = (Fault(kind="flex_unavailable", to_s=case.windows[0][0]),)
    nths = range(_BEFORE + 1, 200)
    if case.batch_s == float("inf"):
        batch = tuple(BatchFault(kind="never", nth=nth) for nth in nths)
    else:
        batch = tuple(BatchFault(kind="slow", nth=nth, factor=case.batch_s / case.before_s) for nth in nths)
    return Scenario(
        limits=Limits(requests_per_minute=_PER_S * 60, burst_s=1),
        latency=Latency(median_ms=20),
        clock=Clock(speed=_SPEED),
        batches=Batches(median_s=case.before_s * _SPEED, cancelling_s=50),
        batch=batch,
        fault=faults,
    )


def in_earnest(case: Case) -> tuple[float, bool]:
    """Cost and whether the deadline was met, by the program."""
    with tempfile.TemporaryDirectory() as folder, serving(scenario(case)) as server:
        shell = Shell(Path(folder))
        shell.write("before.jsonl", tickets(_FILE * _BEFORE, first=10_000))
        shell.run("--input", "before.jsonl", *_FLAGS, "--tier", "batch", url=server.base_url)
        shell.write("in.jsonl", tickets(_ROWS))
        flags = ("--input", "in.jsonl", *_FLAGS, "--deadline", f"{case.deadline_s}s")
        report = shell.run(*flags, url=server.base_url, expect=None)
        standard = 2 * report["cost"]["saved_by_tier_usd"] + next(
            (tier["cost_usd"] for tier in report["cost"]["by_tier"] if tier["tier"] == "standard"), 0.0
        )
        if "--verbose" in sys.argv:
            for one in report["schedule"]["decisions"]:
                print(f"    {one['at_s']:6.1f} {one['tier']:8} {one['rows_left']:>5} left: {one['reason']}")
        return report["cost"]["total_usd"] / standard, bool(report["schedule"]["met"])


def by_the_model(case: Case) -> tuple[float, bool]:
    """The same by the state machine alone."""
    world, _ = auto(
        Night(
            seed=0,
            rows=_ROWS,
            deadline_s=case.deadline_s,
            speed=_PER_S,
            batch_median_s=case.batch_s,
            batch_sigma=0.0,
            flex=case.flex,
            flex_factor=1.0,
            file_rows=_FILE,
            in_flight=8,
            reasked=0.0,
            cancelling_s=0.5,
            cancel_s=2.0,
            poll_s=(0.3, 0.3),
            history=(case.before_s,) * _BEFORE,
            known=None,
            error=0.0,
            windows=case.windows,
        )
    )
    return world.usd / _ROWS, world.met


def main() -> None:
    """Run and print."""
    print(f"{'night':45} {'program':>16} {'model':>16}")
    late = 0
    for case in CASES:
        (paid, met), (cost, model_met) = in_earnest(case), by_the_model(case)
        late += not met
        words = [f"{usd:.2f} {'met' if well else 'LATE'}" for usd, well in ((paid, met), (cost, model_met))]
        print(f"{case.name:45} {words[0]:>16} {words[1]:>16}", flush=True)
    sys.exit(late > 0)


if __name__ == "__main__":
    main()
