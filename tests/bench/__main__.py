"""Every figure of speed, memory and storage in one run, in one table, beside peers on the same server and rows.

    python -m tests.bench [--quick] [--rows 4000 40000] [--stored 10000 100000 1000000] [--keep FOLDER]

``--rows`` are asked for, ``--stored`` are nights of which 99 % (and the largest once more: all) are stored. ``--quick``
is 4,000 rows and nights up to 100,000. A full run takes some 40 minutes and 6 GB of disk, 15 of them for a ledger of a
million rows; ``--keep`` makes inputs and ledgers once. Client and server are on different cores where there are two,
except where a line says two cores; nights have both. What is printed is README's table. The other benchmarks have
commands of their own: see ``make``.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from statistics import median

import orjson

from tests.bench import cpu, nights
from tests.bench.process import LLMBATCH, Cost, cost_of, serving, write_pipeline, write_rows
from tests.bench.table import Figure, table

_PORT = 8_913
_LAG = [sys.executable, "-m", "tests.bench.lag"]
_MOST_MB, _MOST_GROWTH, _GROWTH_FROM = 350, 1.25, 100_000
_PACKAGES = ("llmbatch", "openai", "aiohttp", "duckdb", "polars")


def asking(folder: Path, url: str, rows: int) -> Iterator[Figure]:
    """CPU, speed and memory of rows that are asked for, beside peers; the plain loop's CPU is 1."""
    costs, left_out = cpu.measure(folder, url, rows, 256)
    _say(*left_out)
    ours = costs.pop("llmbatch, everything on")
    plain, at = costs["plain AsyncOpenAI loop"].cpu_s, f"at {rows:,} rows"
    yield Figure(f"CPU a row {at}", "ms", ours.cpu_s / rows * 1e3, peers=_each(costs, lambda c: c.cpu_s / rows * 1e3))
    yield Figure(
        f"the same, of the plain loop's {at}",
        "times",
        ours.cpu_s / plain,
        1 / 3,
        peers=_each(costs, lambda c: c.cpu_s / plain),
    )
    yield Figure(
        f"speed {at}, start to report", "rows/s", rows / ours.wall_s, peers=_each(costs, lambda c: rows / c.wall_s)
    )
    yield Figure(f"peak memory {at}", "MB", ours.rss_mb, peers=_each(costs, lambda c: c.rss_mb))


def speed(folder: Path, url: str, rows: int) -> Iterator[Figure]:
    """Rows a second while committing, and how late the event loop is, with one core and with two."""
    write_rows(folder / f"{rows}.jsonl", rows)
    speeds = []
    for cores, core in (("one core", 0), ("two cores, the server's too", None)):
        words = ["p", "-i", f"{rows}.jsonl", "--base-url", url, "--concurrency", "256", "--quiet"]
        places = ["--ledger", f"speed-{core}.duckdb", "--output", f"speed-{core}"]
        cost = cost_of([*_LAG, "run", *words, *places], folder, core=core)
        late = orjson.loads(cost.said.splitlines()[-1])
        report = orjson.loads((folder / f"speed-{core}/report.json").read_bytes())
        speeds.append(report["throughput"]["rows_per_s"])
        least = 1_000 if core == 0 else None
        yield Figure(f"speed, 100 ms server, {cores}", "rows/s", speeds[-1], least=least)
        yield Figure(
            f"event loop late meanwhile, {cores}", "ms p99", late["lag_ms"]["p99"], most=20 if core == 0 else None
        )
        yield Figure(f"reply durable after, {cores}", "ms p99", late["durable_ms"]["p99"])
    yield Figure("speed with two cores, of that with one", "times", speeds[1] / speeds[0])


def stored(folder: Path, url: str, sizes: Sequence[int]) -> Iterator[Figure]:
    """Nights that are mostly reused: time, memory, storage, and what the commands that look back take."""
    for kind in ("jsonl", "parquet", "giant-parquet"):
        look = {rows for rows in sizes[-2:] if kind == "jsonl"}
        found = [nights.night(folder, url, rows, 100, kind, look=rows in look) for rows in sizes]
        _say(*map(str, found))
        yield from _memory(f"99 % stored, {kind}", sizes, [night.cost for night in found])
        if kind == "jsonl":
            for command in found[-1].looks:
                yield from _memory(command, sizes[-2:], [night.looks[command] for night in found[-2:]], growth=None)
            yield from _times(found[-1])
            yield Figure(
                f"ledger a row at {sizes[-1]:,} (prompt and reply: {found[-1].text_bytes:,.0f})",
                "bytes",
                found[-1].ledger_bytes,
            )


def _times(night: nights.Night) -> Iterator[Figure]:
    name = f"99 % of {night.rows:,} stored"
    if night.first_s is not None:
        yield Figure(f"{name}, first request after", "s", night.first_s, most=10)
    yield Figure(f"{name}, start to report", "s", night.cost.wall_s, most=90)
    yield Figure(f"{name}, CPU", "s", night.cost.cpu_s)
    assert night.again is not None
    yield Figure(f"all of {night.rows:,} stored, start to report", "s", night.again.wall_s, most=90)
    yield Figure(f"all of {night.rows:,} stored, CPU", "s", night.again.cpu_s)


def _memory(
    name: str, sizes: Sequence[int], costs: Sequence[Cost], growth: float | None = _MOST_GROWTH
) -> Iterator[Figure]:
    for rows, cost in zip(sizes, costs, strict=True):
        yield Figure(f"{name}, peak memory at {rows:,}", "MB", cost.rss_mb, most=_MOST_MB)
    for (few, small), (many, large) in pairwise(zip(sizes, costs, strict=True)):
        most = growth if few >= _GROWTH_FROM else None
        yield Figure(f"{name}, memory from {few:,} to {many:,}", "times", large.rss_mb / small.rss_mb, most=most)


def start(folder: Path) -> Iterator[Figure]:
    """How long a person waits for the two shortest commands: the median of eleven."""
    for words, most in ((["--help"], 0.25), (["check", "p"], 0.5)):
        costs = [cost_of([*LLMBATCH, *words], folder) for _ in range(11)]
        yield Figure(f"llmbatch {words[0]}", "s", median(cost.wall_s for cost in costs), most=most)


def _each(costs: dict[str, Cost], figure: Callable[[Cost], float]) -> dict[str, float]:
    return {name: figure(cost) for name, cost in costs.items()}


def _say(*lines: str) -> None:
    print(*lines, sep="\n", end="\n" if lines else "", file=sys.stderr, flush=True)


def _machine() -> str:
    said = Path("/proc/cpuinfo")
    models = [line for line in said.read_text().splitlines() if line.startswith("model name")] if said.exists() else []
    model = models[0].partition(": ")[2] if models else platform.machine()
    return f"{os.cpu_count()} cores ({model})"


def _figures(folder: Path, keep: Path, rows: Sequence[int], sizes: Sequence[int]) -> Iterator[Figure]:
    for each in (folder, keep):
        if not (each / "p").exists():
            write_pipeline(each)
    yield from start(folder)
    with serving(_PORT, 50) as url:
        for count in rows:
            yield from asking(folder, url, count)
    with serving(_PORT + 1, 100) as url:
        yield from speed(folder, url, max(rows))
        yield from stored(keep, url, sizes)


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--rows", type=int, nargs="+")
    parser.add_argument("--stored", type=int, nargs="+")
    parser.add_argument("--keep", type=Path)
    args = parser.parse_args()
    rows = args.rows or ([4_000] if args.quick else [4_000, 40_000])
    sizes = args.stored or ([10_000, 100_000] if args.quick else [10_000, 100_000, 1_000_000])
    began, load = time.perf_counter(), os.getloadavg()[0]
    figures = []
    with tempfile.TemporaryDirectory() as name:
        keep = args.keep or Path(name)
        keep.mkdir(exist_ok=True)
        for figure in _figures(Path(name), keep, rows, sizes):
            figures.append(figure)
            _say("  ".join(figure.cells(list(figure.peers))))
    packages = ", ".join(f"{name} {version(name)}" for name in _PACKAGES)
    print(f"{_machine()}, load {load:.1f} before; Python {platform.python_version()}, {packages}:\n")
    print(table(figures))
    print(f"\n{time.perf_counter() - began:,.0f} s; {sum(figure.met is False for figure in figures)} not met")


if __name__ == "__main__":
    main()
