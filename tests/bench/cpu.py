"""CPU per row: the whole of llmbatch beside plain loops and other tools.

    python -m tests.bench.cpu [--rows 4000 40000] [--in-flight 256]

Same server (fast.py, on another core where there is one), same rows, one run after the other. llmbatch does everything
it does on a night: reads, checks, renders, hashes, records durably, limits, judges, writes results and reports. The
loops do nothing but ask. CPU is user and system time of the whole client process, start included.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

from tests.bench.peers import contenders
from tests.bench.process import LLMBATCH, Cost, cost_of, serving, write_pipeline, write_rows

_PORT = 8_911
_SLOW = 4_000  #: rows; tools that take over 3 ms a row are asked no more


def measure(folder: Path, url: str, rows: int, in_flight: int) -> tuple[dict[str, Cost], list[str]]:
    """Cost by contender, and what to say of those that are left out."""
    write_rows(folder / f"{rows}.jsonl", rows)
    commands, left_out = contenders([str(folder / f"{rows}.jsonl"), url, str(in_flight)])
    if rows > _SLOW:
        commands = dict(list(commands.items())[:2])
    run = [*LLMBATCH, "run", "p", "-i", f"{rows}.jsonl", "--base-url", url, "--concurrency", str(in_flight), "--quiet"]
    commands["llmbatch, everything on"] = [*run, "--ledger", f"{rows}.duckdb", "--output", f"out-{rows}"]
    return {name: cost_of(command, folder) for name, command in commands.items()}, left_out


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[4_000, 40_000])
    parser.add_argument("--in-flight", type=int, default=256)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, serving(_PORT, 50) as url:
        folder = Path(name)
        write_pipeline(folder)
        for rows in args.rows:
            costs, left_out = measure(folder, url, rows, args.in_flight)
            print(f"{rows:,} rows of 1 kB, {args.in_flight} in flight, 50 ms server; load {os.getloadavg()[0]:.1f}")
            print(f"{'':34}{'CPU ms/row':>12}{'rows/s':>10}{'of the plain loop':>20}{'peak MB':>10}")
            plain = costs["plain AsyncOpenAI loop"].cpu_s
            for contender, cost in costs.items():
                figures = f"{cost.cpu_s / rows * 1e3:12.3f}{rows / cost.wall_s:10,.0f}{cost.cpu_s / plain:20.2f}"
                print(f"{contender:34}{figures}{cost.rss_mb:10.0f}", flush=True)
            print("\n".join(left_out))


if __name__ == "__main__":
    main()
