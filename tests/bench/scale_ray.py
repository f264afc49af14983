"""The Ray engine: more workers, one limit for all of them, and workers that are killed::

    python -m tests.bench.scale_ray [--short] [--only NAME ...]

Workers, driver and simulator share this machine, so each worker has a cap of 50 calls in flight at a server that takes
1 s: the latency bounds it, not the CPU. Exit status 1 when a target is missed.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson

from llmbatch.simulator import Latency, Limits, Scenario, Server
from tests.bench.measure import Line, at_least, at_most, goodput, shown
from tests.bench.sides import Case, Side, llmbatch
from tests.cli.conftest import tickets
from tests.counterparts.raylets import is_at_work, workers_of

_EACH = 50  #: calls in flight for each worker
_IN_HAND = 2 * _EACH  #: requests that a worker may hold, those that wait included
_KILLS = 20
_AT_WORK_S, _PAUSE_S = 3.0, 2.0  #: a worker is killed when it has worked so long, and so long after the last one
_PER_MINUTE = 3_000
_IDLE = 0.1  #: a machine with less CPU to spare bounds the workers, and not their latency


def _case(workers: int, rows: int, *settings: str, limits: Limits | None = None) -> Case:
    """Latency is a second, with a little spread."""
    scenario = Scenario(
        seed=1, latency=Latency(median_ms=1_000, sigma=0.05), server=Server(brain="echo"), limits=limits or Limits()
    )
    return Case(
        scenario,
        tickets(rows),
        (f"ray.in_flight={_IN_HAND}", *settings),
        concurrency=str(workers * _EACH),
        flags=("--engine", "ray", "--workers", str(workers)),
    )


def _report(folder: Path) -> dict[str, Any]:
    report: dict[str, Any] = orjson.loads((folder / "results/label/report.json").read_bytes())
    return report


def more(folder: Path, *, short: bool) -> list[Line]:
    """1, 2 and 4 workers, and no limit."""
    rates, seconds, idle = {}, 12 if short else 25, 0.0
    for workers in (1, 2, 4):
        before = _cpu()
        side = llmbatch(_case(workers, workers * _EACH * seconds), folder / str(workers))
        idle = _idle(before, _cpu())
        rates[workers] = side.rate(6, side.last_s - 2)  # all workers have begun, and none lacks rows
    return [
        *(shown(f"rows a second, {workers} workers", rate, None) for workers, rate in rates.items()),
        shown("times the rows a second, 2 workers to 1", rates[2] / rates[1], None),
        *_judged(idle, at_least("times the rows a second, 4 workers to 1", 3.6, rates[4] / rates[1], None)),
    ]


def _judged(idle: float, *lines: Line) -> list[Line]:
    """What needs a punctual machine; a miss says nothing when the CPU was full, perhaps of other programs."""
    shares = [shown("part of the machine's CPU that was idle meanwhile", idle, None)]
    for line in lines:
        full = line.met is False and idle < _IDLE
        shares.append(replace(line, name=f"{line.name}: no CPU, not judged", met=None) if full else line)
    return shares


def _cpu() -> list[int]:
    """Ticks of this machine's CPUs since it was started: user, nice, system, idle, ..."""
    return [int(word) for word in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]]


def _idle(before: list[int], after: list[int]) -> float:
    """Part of the ticks between."""
    spent = [b - a for a, b in zip(before, after, strict=True)]
    return spent[3] / max(1, sum(spent[:8]))


def limit(folder: Path, *, short: bool) -> list[Line]:
    """3,000 requests a minute, named in pipeline.toml and kept by the server, for 4 workers."""
    limits = Limits(requests_per_minute=_PER_MINUTE, burst_s=1, headers=False)
    rows = _PER_MINUTE * (35 if short else 100) // 60
    case = _case(4, rows, f"limits.requests_per_minute={_PER_MINUTE}", limits=limits)
    before = _cpu()
    side = llmbatch(case, folder / "limit")
    return [
        *_judged(
            _idle(before, _cpu()),
            at_least("part of the limit used, after 10 s", 0.97, goodput(side, 10, _PER_MINUTE), None),
            at_most("429s, part of all requests", 0.01, side.share(429), None),
            # as they came in: what a full CPU held up for a second and let go at once are 50 more in a minute
            at_most("the most requests in any 60 s, part of the limit", 1.01, _worst_minute(side) / _PER_MINUTE, None),
        ),
        at_most("rows lost", 0, side.lost, None),
    ]


def _worst_minute(side: Side) -> int:
    """The most requests in any window of 60 s."""
    at = [seen.at_s for seen in side.seen]
    most, left = 0, 0
    for right, now in enumerate(at):
        while at[left] <= now - 60:
            left += 1
        most = max(most, right - left + 1)
    return most


def killed(folder: Path, *, short: bool) -> list[Line]:
    """4 workers, one of them killed with kill -9 at random, 20 times."""
    kills, rows = (5, 5_000) if short else (_KILLS, 16_000)
    done: list[float] = []
    ended = threading.Event()
    killer = threading.Thread(target=_kill, args=(kills, done, ended))
    killer.start()
    try:
        side = llmbatch(_case(4, rows, "limits.max_attempts=10"), folder / "killed")
    finally:
        ended.set()
        killer.join()
    attempts = _report(folder / "killed")["attempts"]
    paid = [seen.user for seen in side.seen if seen.paid]
    twice = len(paid) - len(set(paid))
    lost = attempts["possibly_paid_twice"]
    return [
        at_least("workers killed", kills, len(done), None),
        at_most("rows without an outcome", 0, side.lost, None),
        at_most("attempts that the run does not know of", 0, len(side.seen) - attempts["sent"], None),
        at_most("rows paid twice, of those that the run says it may have", 1, twice / max(lost, 1), None),
        at_most("these, for each kill, of what a worker may hold", 1, lost / kills / _IN_HAND, None),
        shown("rows paid twice", twice, None),
        shown("rows that the run says may have been", lost, None),
    ]


def _kill(kills: int, done: list[float], ended: threading.Event) -> None:
    """End workers that are at work, one after the other."""
    rng, here = random.Random(3), os.getpid()
    since: dict[int, float] = {}
    while len(done) < kills and not ended.is_set():
        now = time.monotonic()
        since = {pid: since.get(pid, now) for pid in workers_of(here) if is_at_work(pid)}
        at_work = [pid for pid, began in since.items() if now - began > _AT_WORK_S]
        if at_work and (not done or now - done[-1] > _PAUSE_S):
            os.kill(rng.choice(at_work), signal.SIGKILL)
            done.append(now)
        time.sleep(0.1)


PARTS: dict[str, Callable[..., list[Line]]] = {"more": more, "limit": limit, "killed": killed}


def main() -> None:
    """Measure, print, and say whether the targets were met."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    given = parser.parse_args()
    missed = 0
    for name in given.only:
        print(f"{name}: {PARTS[name].__doc__}", flush=True)
        with tempfile.TemporaryDirectory() as folder:
            for line in PARTS[name](Path(folder), short=given.short):
                print(line, flush=True)
                missed += line.met is False
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
