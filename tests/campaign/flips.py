"""Flip a byte of a Parquet file at many places, and read each file as a run does.

    python -m tests.campaign.flips [--places 2000] [--rows 2000] [--seed 1]

Each file must be refused, or give as many rows as its footer promises. Values may come out changed: Parquet as polars
writes it has no checksums. polars may also abort the process, which nothing in it can catch; that is counted.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import polars as pl

from llmbatch.errors import InputError
from llmbatch.settings import InputSettings
from llmbatch.source import open_source, survey


def verdict(path: str, rows: int, right: list[dict[str, object]]) -> str:
    """What reading a damaged file comes to."""
    try:
        source = open_source([path], Path())
        total = survey(source, InputSettings()).total
        found = [row.columns for row in source.rows()]
    except InputError:
        return "refused"
    if total != rows or len(found) != rows:
        return "ROWS LOST"
    return "read whole" if found == right else "read with other values"


def child(folder: Path, first: int, rows: int) -> None:
    """Print the verdict of each file from ``first`` on, a line each; whoever aborts prints no more."""
    right = [row.columns for row in open_source([str(folder / "whole")], Path()).rows()]
    while (path := folder / str(first)).exists():
        print(verdict(str(path), rows, right), flush=True)
        first += 1


def campaign(places: int, rows: int, seed: int) -> Counter[str]:
    """Flip, read, count."""
    counts: Counter[str] = Counter()
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        texts = [f"Ticket {n}: " + "the invoice is wrong " * rng.randrange(9) for n in range(rows)]
        table = pl.DataFrame({"id": range(rows), "text": texts, "score": [rng.random() for _ in range(rows)]})
        whole = Path(folder) / "whole"
        table.write_parquet(whole, row_group_size=max(1, rows // 4))
        data = whole.read_bytes()
        for n, at in enumerate(sorted(rng.sample(range(len(data)), min(places, len(data))))):
            flipped = data[at] ^ rng.randrange(1, 256)
            (Path(folder) / str(n)).write_bytes(data[:at] + bytes([flipped]) + data[at + 1 :])
        done, total = 0, min(places, len(data))
        while done < total:
            command = [sys.executable, "-m", "tests.campaign.flips", "--child", folder, str(done), str(rows)]
            ran = subprocess.run(command, capture_output=True, text=True, check=False, env=_quiet())
            lines = ran.stdout.splitlines()
            counts.update(lines)
            done += len(lines)
            if done < total:
                counts[f"aborted the process (signal {-ran.returncode})"] += 1
                done += 1
    return counts


def _quiet() -> dict[str, str]:
    return {**os.environ, "RUST_BACKTRACE": "0"}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--places", type=int, default=2000)
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        child(Path(given.child[0]), int(given.child[1]), int(given.child[2]))
        return 0
    counts = campaign(given.places, given.rows, given.seed)
    for name, count in counts.most_common():
        print(f"{count:6,} {name}")
    return int("ROWS LOST" in counts)


if __name__ == "__main__":
    sys.exit(main())
