"""Nights of many rows of 1 kB: resume, reuse, memory, storage, and the commands that look back.

    python -m tests.bench.nights [--rows 10000 100000 1000000] [--new 100] [--kind parquet] [--keep FOLDER]

The ledger is written in bulk (stored.py) with an answer for every row but each ``--new``-th; then `llmbatch run` is
timed with everything on against fast.py. First request: from the start of the process until the first new attempt was
sent. ``--new 0`` is a night that is reused whole. ``--keep`` makes inputs and ledgers once. giant-parquet is Parquet of
one row group.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path

from tests.bench.process import LLMBATCH, Cost, apart, cost_of, serving, write_pipeline, write_rows

_PORT = 8_912
_LOOKING_BACK = (["report"], ["show", "7"], ["runs"], ["doctor"])


@dataclass(frozen=True, slots=True)
class Night:
    """What a night took, and what looking at its ledger took."""

    rows: int
    new: int
    kind: str
    cost: Cost
    first_s: float | None  #: from the start of the process until the first request was sent; None when none was
    looks: dict[str, Cost] = field(default_factory=dict)  #: by command
    again: Cost | None = None  #: the same command once more: all are stored
    ledger_bytes: float = 0.0  #: a row
    text_bytes: float = 0.0  #: of prompt and reply

    def __str__(self) -> str:
        """Its lines of the table."""
        said = "" if self.first_s is None else f", first request after {self.first_s:.1f} s"
        lines = [_line(f"{self.rows:,} rows {self.kind}, {self.new:,} new", self.cost) + said]
        lines += [_line(f"  {command}", cost) for command, cost in self.looks.items()]
        if self.again:
            lines.append(_line("  the same once more", self.again))
        if self.ledger_bytes:
            lines.append(f"  ledger: {self.ledger_bytes:,.0f} bytes a row; prompt and reply {self.text_bytes:,.0f}")
        return "\n".join(lines)


def night(folder: Path, url: str, rows: int, new: int, kind: str, *, look: bool) -> Night:
    """Run a night; with ``look`` also all that looks at its ledger, the night again, and a ``gc`` that drops half."""
    input_file, stored = folder / f"{rows}.{kind}", folder / f"stored-{rows}-{new}.duckdb"
    apart(_prepare, folder, input_file, stored, rows, new)
    ledger = folder / "night.duckdb"
    for old in folder.glob("night.duckdb*"):
        old.unlink()
    shutil.copyfile(stored, ledger)
    where = ["--ledger", ledger.name]
    words = ["p", "-i", input_file.name, "--base-url", url, *where]
    run = [*LLMBATCH, "run", *words, "--concurrency", "256", "--quiet", "--output", "out"]
    cost = cost_of(run, folder, core=None)
    found = Night(
        rows, rows // new if new else 0, kind, cost, apart(_first_request, ledger, cost.began) if new else None
    )
    if not look:
        return found
    for command, *rest in _LOOKING_BACK:
        found.looks[command] = cost_of([*LLMBATCH, command, "p", *rest, *where], folder, core=None)
    found.looks["plan"] = cost_of([*LLMBATCH, "plan", *words], folder, core=None)
    again = cost_of(run, folder, core=None)
    cost_of([*run, "--limit", str(rows // 2)], folder, core=None)  # a night that uses half of them
    found.looks["gc"] = cost_of([*LLMBATCH, "gc", "p", "--keep-nights", "1", *where], folder, core=None)
    found = replace(found, again=again)
    return replace(found, ledger_bytes=stored.stat().st_size / rows, text_bytes=apart(_text_bytes, stored))


def _prepare(folder: Path, input_file: Path, stored: Path, rows: int, new: int) -> None:
    lines = folder / f"{rows}.jsonl"
    if not lines.exists():
        write_rows(lines, rows)
    if not input_file.exists():
        import polars as pl

        group = rows if input_file.suffix == ".giant-parquet" else 50_000
        pl.scan_ndjson(lines).sink_parquet(input_file, row_group_size=group)
    if not stored.exists():
        from tests.bench.stored import store

        store(stored, folder / "p", lines, leave_out=new)


def _first_request(ledger: Path, began: float) -> float:
    import duckdb

    with contextlib.closing(duckdb.connect(str(ledger), read_only=True)) as con:
        row = con.execute(
            "select min(epoch(asked_at)) from attempts where run_no = (select max(run_no) from runs)"
        ).fetchone()
    assert row is not None
    return float(row[0]) - began


def _text_bytes(stored: Path) -> float:
    import duckdb

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
    parser.add_argument("--kind", choices=("jsonl", "parquet", "giant-parquet"), default="jsonl")
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
            print(night(folder, url, rows, args.new, args.kind, look=args.kind == "jsonl"), flush=True)


if __name__ == "__main__":
    main()
