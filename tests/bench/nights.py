"""Nights of many rows of 1 kB: resume, reuse, memory, storage, and the commands that look back.

    python -m tests.bench.nights [--rows 10000 100000 1000000] [--new 100] [--parquet] [--keep FOLDER]

The ledger is written in bulk (stored.py) with an answer for every row but each ``--new``-th; then `llmbatch run` is
timed with everything on against fast.py. First request: from the start of the process until the first new attempt was
sent. ``--new 0`` is a night that is reused whole. ``--keep`` makes inputs and ledgers once.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import tempfile
from pathlib import Path

import duckdb

from tests.bench.process import LLMBATCH, Cost, cost_of, serving, write_pipeline, write_rows
from tests.bench.stored import store

_PORT = 8_912
_LOOKING_BACK = (["report", "p"], ["show", "p", "7"], ["runs", "p"], ["doctor", "p"], ["gc", "p", "--dry-run"])


def night(folder: Path, url: str, rows: int, new: int, kind: str) -> None:
    """One line of the table, and one for each command that looks back."""
    input_file, stored = folder / f"{rows}.{kind}", folder / f"stored-{rows}-{new}.duckdb"
    _prepare(folder, input_file, stored, rows, new)
    ledger = folder / "night.duckdb"
    for old in (ledger, folder / "night.duckdb.seq", folder / "night.duckdb.wal"):
        old.unlink(missing_ok=True)
    shutil.copyfile(stored, ledger)
    words = ["run", "p", "-i", input_file.name, "--base-url", url, "--concurrency", "256", "--quiet"]
    cost = cost_of([*LLMBATCH, *words, "--ledger", ledger.name, "--output", "out"], folder, core=None)
    first = _first_request(ledger, cost) if new else None
    said = "" if first is None else f", first request after {first:.1f} s"
    print(_line(f"{rows:,} rows {kind}, {rows // new if new else 0:,} new", cost) + said, flush=True)
    for command in _LOOKING_BACK if kind == "jsonl" else ():
        print(_line(f"  {command[0]}", cost_of([*LLMBATCH, *command, "--ledger", ledger.name], folder, core=None)))
    if kind == "jsonl":
        print(f"  ledger: {stored.stat().st_size / rows:,.0f} bytes a row; prompt and reply {_text_bytes(stored):,.0f}")


def _prepare(folder: Path, input_file: Path, stored: Path, rows: int, new: int) -> None:
    lines = folder / f"{rows}.jsonl"
    if not lines.exists():
        write_rows(lines, rows)
    if not input_file.exists():
        import polars as pl

        pl.scan_ndjson(lines).sink_parquet(input_file)
    if not stored.exists():
        store(stored, folder / "p", lines, leave_out=new)


def _first_request(ledger: Path, cost: Cost) -> float:
    with contextlib.closing(duckdb.connect(str(ledger), read_only=True)) as con:
        row = con.execute(
            "select min(epoch(asked_at)) from attempts where run_no = (select max(run_no) from runs)"
        ).fetchone()
    assert row is not None
    return float(row[0]) - cost.began


def _text_bytes(stored: Path) -> float:
    with contextlib.closing(duckdb.connect(str(stored), read_only=True)) as con:
        row = con.execute(
            "select (select avg(strlen(raw)) from attempts), (select avg(strlen(user_message)) from requests)"
        ).fetchone()
    assert row is not None
    return float(row[0]) + float(row[1])


def _line(name: str, cost: Cost) -> str:
    return f"{name:44}{cost.wall_s:8.1f} s{cost.cpu_s:8.1f} s CPU{cost.rss_mb:8.0f} MB"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--new", type=int, default=100)
    parser.add_argument("--parquet", action="store_true")
    parser.add_argument("--keep", type=Path)
    args = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = args.keep or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.mkdir(exist_ok=True)
        url = stack.enter_context(serving(_PORT, 100))
        if not (folder / "p").exists():
            write_pipeline(folder)
        print(f"load {os.getloadavg()[0]:.1f}")
        for rows in args.rows:
            night(folder, url, rows, args.new, "parquet" if args.parquet else "jsonl")


if __name__ == "__main__":
    main()
