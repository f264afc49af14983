"""llmbatch status, runs, report and show: what was done, and what it cost. They send nothing and change nothing."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmbatch.cli import screen
from llmbatch.cli.gate import dumped, shown
from llmbatch.cli.order import ledger_file, status_file
from llmbatch.errors import LedgerLocked, StorageError, UsageError

if TYPE_CHECKING:
    import duckdb

EXIT_STATUS = """EXIT STATUS

0 shown
1 fault in llmbatch
2 mistake in usage, or nothing to show
74 the ledger cannot be read
75 a run holds the ledger"""

_Pipeline = Annotated[Path, typer.Argument(metavar="PIPELINE", help="The pipeline's folder.")]
_Ledger = Annotated[
    Path | None,
    typer.Option("--ledger", metavar="FILE", help="The DuckDB file of progress. \\[.llmbatch/PIPELINE.duckdb]"),
]
_Json = Annotated[bool, typer.Option("--json", help="Print as JSON.")]


def status(
    pipeline: Annotated[
        Path | None, typer.Argument(metavar="[PIPELINE]", help="The pipeline's folder; else the newest.")
    ] = None,
    ledger: _Ledger = None,
    json: _Json = False,
) -> None:
    """How far the live run is, or how the last one ended; works while a run holds the ledger."""
    from llmbatch.progress import read_status

    if pipeline is None and ledger is None:
        found = sorted(Path(".llmbatch").glob("*.status.json"), key=lambda path: path.stat().st_mtime)
        if not found:
            raise UsageError("no run has been started from this folder")
        path = found[-1]
    else:
        path = status_file(ledger or ledger_file(pipeline or Path()))
    facts = read_status(path)
    if facts is None:
        raise UsageError(
            f"no run of {pipeline or ledger} has been started from this folder", hint=f"there is no {path}"
        )
    typer.echo(dumped(facts) if json else shown("\n".join([_status_line(facts), *_batch_lines(facts)])))


def runs(pipeline: _Pipeline, ledger: _Ledger = None, json: _Json = False) -> None:
    """The history of a pipeline: a line per run, newest first."""
    import orjson

    from llmbatch.ledger import history

    with reading(ledger or ledger_file(pipeline)) as con:
        nights = history(con)
    for night in nights:
        night["report"] = orjson.loads(night["report"]) if night["report"] else None
    if json:
        typer.echo(dumped(nights))
        return
    for night in nights:
        typer.echo(shown(_run_line(night)))


def report(
    pipeline: _Pipeline,
    run: Annotated[
        str | None, typer.Argument(metavar="[RUN]", help="A run_id or its beginning; else the last run.")
    ] = None,
    ledger: _Ledger = None,
    json: _Json = False,
    html: Annotated[Path | None, typer.Option("--html", metavar="FILE", help="Write the report as a page.")] = None,
) -> None:
    """The report of a run."""
    import orjson

    from llmbatch import report as reports
    from llmbatch.atomic import write_text
    from llmbatch.ledger import history

    with reading(ledger or ledger_file(pipeline)) as con:
        nights = [n for n in history(con) if n["report"] and n["run_id"].startswith(run or "")]
    if not nights:
        raise UsageError(f"no finished run {run or ''} of {pipeline}".replace("  ", " "), hint="see `llmbatch runs`")
    facts = orjson.loads(nights[0]["report"])
    if html is not None:
        write_text(html, reports.html(reports.from_json(facts)))
        typer.echo(f"wrote {html}", err=True)
    if json:
        typer.echo(dumped(facts))
    elif html is None:
        typer.echo(reports.text(reports.from_json(facts), width=screen.width(), color=screen.colored()))


def show(
    pipeline: _Pipeline,
    row: Annotated[str, typer.Argument(metavar="ROW", help="The row's id, or its number (0-based).")],
    ledger: _Ledger = None,
    json: _Json = False,
) -> None:
    """Everything about one row: rendered request, every attempt, how it ended."""
    from llmbatch.cli.row import story, told

    with reading(ledger or ledger_file(pipeline)) as con:
        facts = story(con, row)
    if facts is None:
        raise UsageError(f"no run of {pipeline} has a row {row!r}", hint="name its id, or its 0-based number")
    typer.echo(dumped(facts) if json else shown(told(facts)))


@contextmanager
def reading(path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """The ledger, for a moment. Raises UsageError when there is none, LedgerLocked while a run holds it."""
    from llmbatch.ledger import connect

    if not path.exists():
        raise UsageError(f"there is no ledger at {path}", hint="run the pipeline first, or name the file with --ledger")
    try:
        con = connect(path)
    except StorageError as error:
        if "lock" in error.message:
            raise LedgerLocked(
                "a run holds the ledger", hint="`llmbatch status` works meanwhile; this does when the run has ended"
            ) from None
        raise
    try:
        yield con
    finally:
        con.close()


def _status_line(facts: dict[str, Any]) -> str:
    rows = facts["rows"]
    state = facts["state"] if facts["state"] != "running" or facts["alive"] else "died"
    settled = rows["total"] - rows["pending"]
    line = f"{facts['pipeline']}: {state}, {settled:,} of {rows['total']:,} rows"
    line += (
        f" (done {rows['done']:,}, reused {rows['reused']:,}, failed {rows['failed']:,}, skipped {rows['skipped']:,})"
    )
    if state == "running" and facts.get("eta_s") is not None:
        line += f", about {facts['eta_s'] / 60:,.0f} min to go"
    if facts.get("cost_usd") is not None:
        line += f", ${facts['cost_usd']:.4f}"
    return f"{line}, updated {facts['updated_at']}"


def _batch_lines(facts: dict[str, Any]) -> Iterator[str]:
    """A line for each batch that was open when the status was written."""
    from llmbatch.progress.words import left

    for batch in facts.get("batches", ()):
        age = left(max(0.0, time.time() - batch["made_at"]))
        done = f"{batch['completed']:,} of {batch['requests']:,} requests done"
        failed = f", {batch['failed']:,} failed" if batch["failed"] else ""
        yield f"  {batch['id']}: {batch['status']}, {done}{failed}, handed in {age} ago"


def _run_line(night: dict[str, Any]) -> str:
    facts = night["report"] or {}
    rows = facts.get("rows", {})
    cost = facts.get("cost", {}).get("total_usd")
    parts = [
        night["run_id"],
        f"{night['status'] or 'died':<16}",
        f"{night['total']:>9,} rows",
        *(f"{rows[name]:>8,} {name}" for name in ("done", "reused", "failed", "skipped", "pending") if name in rows),
        f"${cost:.4f}" if cost is not None else "$?",
        f"prompt {night['prompt_version']}",
    ]
    return "  ".join(parts)
