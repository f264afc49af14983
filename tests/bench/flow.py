"""Full speed without a storm: llmbatch beside a plain loop of ``AsyncOpenAI``, on the same rows and scenarios::

    python -m tests.bench.flow [--short] [--only NAME ...]

The plain loop has the client's own default retries and 64 calls at a time. Every side has a simulator of its own, in a
process of its own. A second is counted from the first request. Exit status 1 when a target is missed.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from llmbatch.simulator import Fault, Latency, Limits, Scenario, Server
from tests.bench.measure import (
    Line,
    at_least,
    at_most,
    back_after,
    goodput,
    longest_wait,
    shown,
    throughput,
    token_use,
)
from tests.bench.sides import Case, Rows, Side, both, llmbatch, plain
from tests.cli.conftest import tickets

Table = list[Line]


def _steady(median_ms: float = 400) -> Latency:
    return Latency(median_ms=median_ms, sigma=0.4)


def _limited(folder: Path, *, seconds: int, told: bool, settings: tuple[str, ...] = ()) -> tuple[Side, Side, Table]:
    limits = Limits(requests_per_minute=600, burst_s=1, headers=told, retry_after_form="ms")
    scenario = Scenario(seed=1, latency=_steady(), limits=limits, server=Server(brain="echo"))
    ours, theirs = both(Case(scenario, tickets(10 * seconds), settings), folder)
    table = [
        at_least("part of the limit used, after 10 s", 0.97, goodput(ours, 10), goodput(theirs, 10)),
        at_most("rows lost", 0, ours.lost, theirs.lost),
    ]
    return ours, theirs, table


def known(folder: Path, *, short: bool) -> Table:
    """600 requests a minute, known: requests_per_minute = 600, and no header says it."""
    named = ("limits.requests_per_minute=600",)
    ours, theirs, table = _limited(folder, seconds=25 if short else 70, told=False, settings=named)
    return [*table, at_most("429s, part of all requests", 0.01, ours.share(429), theirs.share(429))]


def told(folder: Path, *, short: bool) -> Table:
    """600 requests a minute, unknown until the answers' headers tell it."""
    ours, theirs, table = _limited(folder, seconds=25 if short else 70, told=True)
    return [*table, at_most("429s, part of all requests", 0.02, ours.share(429), theirs.share(429))]


def hidden(folder: Path, *, short: bool) -> Table:
    """600 requests a minute, unknown: nothing but 429s tells of it."""
    ours, theirs, table = _limited(folder, seconds=40 if short else 120, told=False)
    return [
        *table,
        at_most("429s, part of all requests", 0.02, ours.share(429), theirs.share(429)),
        shown("429s, part of the requests after 10 s", ours.share(429, 10), theirs.share(429, 10)),
    ]


def tokens(folder: Path, *, short: bool) -> Table:
    """300,000 tokens a minute; nine requests of 50 tokens to one of 5,000."""
    rows: Rows = [
        {"id": f"r{n}", "text": f"{n} ".ljust(19_940 if n % 10 == 5 else 130, "x")}
        for n in range(200 if short else 650)
    ]
    limits = Limits(tokens_per_minute=300_000, burst_s=2, retry_after_form="ms")
    scenario = Scenario(seed=2, latency=_steady(), limits=limits, server=Server(brain="echo"))
    ours, theirs = both(Case(scenario, rows), folder)
    return [
        at_least("part of the limit used, after 10 s", 0.95, token_use(ours, 10), token_use(theirs, 10)),
        at_most("longest wait, in fair waits", 3, longest_wait(ours, rows), longest_wait(theirs, rows)),
        at_most("rows lost", 0, ours.lost, theirs.lost),
        shown("429s, part of all requests", ours.share(429), theirs.share(429)),
    ]


def slow(folder: Path, *, short: bool) -> Table:
    """32 slots, any queue, no 429: a server that only gets slower."""
    scenario = Scenario(seed=3, latency=Latency(median_ms=600, sigma=0.3), server=Server(slots=32, brain="echo"))
    fixed = {}
    for number in (16, 32, 64) if short else (8, 16, 24, 32, 48, 64):
        case = Case(scenario, tickets((10 if short else 25) * min(number, 32)), concurrency=str(number))
        fixed[number] = llmbatch(case, folder / f"fixed-{number}")
    most = max(throughput(side, 3) for side in fixed.values())
    best = min(number for number, side in fixed.items() if throughput(side, 3) > 0.98 * most)
    rows = tickets(1500 if short else 5000)
    ours = llmbatch(Case(scenario, rows), folder / "llmbatch")
    theirs = plain(Case(scenario, rows[:1000]), folder / "plain")
    p50 = fixed[best].p50_s
    name = f"throughput after 10 s, of that of the best fixed, {best} ({throughput(fixed[best], 3):.1f}/s)"
    return [
        at_least(name, 0.95, throughput(ours, 10) / most, throughput(theirs, 3) / most),
        at_most("median latency, times that of the best fixed", 1.5, ours.p50_s / p50, theirs.p50_s / p50),
        shown(
            "throughput over the whole run, part of the best", throughput(ours, 0) / most, throughput(theirs, 0) / most
        ),
    ]


def crowd(folder: Path, *, short: bool) -> Table:
    """A server that answers eight calls at once, and refuses the ninth with a 503."""
    scenario = Scenario(seed=8, latency=_steady(), server=Server(brain="echo", slots=8, queue=0))
    rows = tickets(18 * (25 if short else 60))
    ours, theirs = both(Case(scenario, rows), folder)
    best = throughput(llmbatch(Case(scenario, rows[:400], concurrency="8"), folder / "fixed"), 3)
    name = f"throughput after 10 s, of that of 8 at once ({best:.1f}/s)"
    return [
        at_least(name, 0.95, throughput(ours, 10) / best, throughput(theirs, 3) / best),
        at_most("503s, part of all requests", 0.02, ours.share(503), theirs.share(503)),
        at_most("rows lost", 0, ours.lost, theirs.lost),
    ]


def faults(folder: Path, *, short: bool) -> Table:
    """30 % of the answers are a 5xx."""
    kinds = tuple(Fault(kind="server_error", status=status, share=0.1) for status in (500, 502, 504))
    scenario = Scenario(seed=4, latency=_steady(200), server=Server(brain="echo", slots=16), fault=kinds)
    ours, theirs = both(Case(scenario, tickets(600 if short else 2000)), folder)
    return [
        at_most("requests a row", 1.5, len(ours.seen) / ours.rows, len(theirs.seen) / theirs.rows),
        shown("rows lost, part of all", ours.lost / ours.rows, theirs.lost / theirs.rows),
    ]


def outage(folder: Path, *, short: bool) -> Table:
    """Two minutes in which every request is answered with a 503."""
    begin, end = (10, 40) if short else (30, 150)
    fault = Fault(kind="server_error", status=503, from_s=begin, to_s=end)
    scenario = Scenario(seed=5, latency=_steady(), server=Server(brain="echo", slots=8), fault=(fault,))
    ours, theirs = both(Case(scenario, tickets(18 * (begin + 20))), folder)
    return [
        at_most("requests during it", 20, ours.requests(begin, end), theirs.requests(begin, end)),
        at_most("rows lost", 0, ours.lost, theirs.lost),
        shown("seconds from its end to 90 % of the speed before", back_after(ours, begin, end), None),
    ]


def storm(folder: Path, *, short: bool) -> Table:
    """A minute in which every request is answered with a 429 that names no time."""
    begin, end = (10, 30) if short else (20, 80)
    fault = Fault(kind="rate_limited", retry_after_form="none", from_s=begin, to_s=end)
    scenario = Scenario(seed=6, latency=_steady(), server=Server(brain="echo", slots=8), fault=(fault,))
    ours, theirs = both(Case(scenario, tickets(18 * (begin + 30))), folder)
    return [
        at_most(
            "requests during it, a second", 1, *(side.requests(begin, end) / (end - begin) for side in (ours, theirs))
        ),
        at_most("seconds from its end to 90 % of the speed before", 15, back_after(ours, begin, end), None),
        at_most("rows lost", 0, ours.lost, theirs.lost),
    ]


def _changed(folder: Path, *, at_s: int, told: bool, limits: tuple[int, int], rows: int) -> Table:
    before, after = limits
    told_so = Limits(requests_per_minute=before, burst_s=1, headers=told, retry_after_form="ms")
    scenario = Scenario(seed=7, latency=_steady(), limits=told_so, server=Server(brain="echo"))
    ours, theirs = both(Case(scenario, tickets(rows), change=(at_s, after)), folder)
    soon, took = "seconds to 90 % of the new limit", back_after(ours, 0, at_s, after / 60)
    return [
        at_most(soon, 10, took, None) if told else shown(soon, took, None),
        shown("429s, part of all requests", ours.share(429), theirs.share(429)),
        at_most("rows lost", 0, ours.lost, theirs.lost),
    ]


def more(folder: Path, *, short: bool) -> Table:
    """The limit goes from 300 to 1,200 requests a minute; headers tell it."""
    at_s = 10 if short else 30
    return _changed(folder, at_s=at_s, told=True, limits=(300, 1200), rows=5 * at_s + 20 * 25)


def more_hidden(folder: Path, *, short: bool) -> Table:
    """The limit goes from 300 to 1,200 requests a minute; nothing tells it."""
    at_s = 20 if short else 40
    return _changed(folder, at_s=at_s, told=False, limits=(300, 1200), rows=5 * at_s + 20 * 60)


def less(folder: Path, *, short: bool) -> Table:
    """The limit goes from 1,200 to 300 requests a minute; headers tell it."""
    at_s = 10 if short else 30
    return _changed(folder, at_s=at_s, told=True, limits=(1200, 300), rows=20 * at_s + 5 * 25)


SCENARIOS: dict[str, Callable[..., Table]] = {
    scenario.__name__.replace("_", "-"): scenario
    for scenario in (known, told, hidden, tokens, slow, crowd, faults, outage, storm, more, more_hidden, less)
}


def main() -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=SCENARIOS, nargs="+", default=list(SCENARIOS))
    parser.add_argument("--short", action="store_true", help="a quick look; some targets need the whole length")
    args = parser.parse_args()
    missed = 0
    print(f"{'':64}{'target':>10}{'llmbatch':>12}{'plain loop':>12}")
    for name in args.only:
        with tempfile.TemporaryDirectory() as folder:
            table = SCENARIOS[name](Path(folder), short=args.short)
        print(f"\n{name}: {SCENARIOS[name].__doc__}   (load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores)")
        for line in table:
            print(line, flush=True)
            missed += line.met is False
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
