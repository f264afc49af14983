"""llmbatch status: how far the live run is, or how the last one ended; from another terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from llmbatch.cli.flags import Json, LedgerFile
from llmbatch.cli.gate import dumped, shown
from llmbatch.cli.places import ledger_file, status_file
from llmbatch.errors import Exit, UsageError
from llmbatch.scrub import escaped

EXIT_STATUS = """EXIT STATUS

0 shown; with --watch that of the run
1 fault in llmbatch; with --watch also: the run died
2 mistake in usage, or nothing to show
74 the status file cannot be read"""

_PERIOD_S = 0.5
_SILENT_S = 30.0  #: a live run says something every second; after so long without, that is said
_LINE_S = 30.0  #: off a terminal: at least so often
_OVER = frozenset({"running", "ending"})  #: states of a run that is not over


def status(
    pipeline: Annotated[
        Path | None, typer.Argument(metavar="[PIPELINE]", help="The pipeline's folder; else all that ran from here.")
    ] = None,
    ledger: LedgerFile = None,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Go on showing until the run ends.")] = False,
    json: Json = False,
) -> int:
    """How far the live run is, or how the last one ended; works while a run holds the ledger."""
    paths = _paths(pipeline, ledger)
    if watch:
        return _watch(paths[0], json)
    found = [_read(path) for path in paths]
    if json:
        newest, others = found[0], found[1:]
        typer.echo(dumped(newest | {"others": others} if pipeline is None and ledger is None else newest))
        return Exit.OK
    for facts in found:
        typer.echo(shown("\n".join([line(facts), *_batch_lines(facts)])))
    return Exit.OK


def state_of(facts: dict[str, Any]) -> str:
    """The state as it is now: a run whose process is gone did not say so itself."""
    return "died" if facts["state"] in _OVER and facts["alive"] is False else str(facts["state"])


def line(facts: dict[str, Any]) -> str:
    """A run in one line."""
    from llmbatch.progress import Snapshot, from_json

    rows, state = facts["rows"], state_of(facts)
    now: Snapshot = from_json(facts)
    counts = ", ".join(f"{name} {rows[name]:,}" for name in ("done", "reused", "failed", "skipped"))
    parts = [f"{facts['pipeline']}: {state}, {now.settled:,} of {rows['total']:,} rows ({counts})"]
    if state == "running":
        parts += list(_running(now))
    if now.cost_usd is not None:
        parts.append(f"${now.cost_usd:.4f}")
    parts.append(f"updated {facts['updated_at']}")
    return ", ".join(parts) + _remark(facts, state)


def _running(now: Any) -> Iterator[str]:
    from llmbatch.progress import words

    if now.limits is not None and now.limits.breaker != "closed":
        yield "provider down, probing"
    elif now.eta_s is not None:
        yield f"about {words.left(now.eta_s)} to go"


def _batch_lines(facts: dict[str, Any]) -> Iterator[str]:
    """A line for each batch that was open when the status was written."""
    from llmbatch.progress.words import left

    for batch in facts.get("batches", ()):
        age = left(max(0.0, time.time() - batch["made_at"]))
        done = f"{batch['completed']:,} of {batch['requests']:,} requests done"
        failed = f", {batch['failed']:,} failed" if batch["failed"] else ""
        yield f"  {batch['id']}: {batch['status']}, {done}{failed}, handed in {age} ago"


def _remark(facts: dict[str, Any], state: str) -> str:
    if state == "died":
        return "; its process is gone: run the same command again to go on"
    if state in _OVER and facts["age_s"] > _SILENT_S:
        where = f" on {facts['host']}" if facts["alive"] is None else ""
        return f"; no news for {facts['age_s']:,.0f} s: it is stopped or gone{where}"
    return ""


def _paths(pipeline: Path | None, ledger: Path | None) -> list[Path]:
    """Status files, the newest first. Raises UsageError when there is none."""
    if pipeline is not None or ledger is not None:
        path = status_file(ledger or ledger_file(pipeline or Path()))
        if path.exists():
            return [path]
        raise UsageError(
            f"no run of {pipeline or ledger} has been started from this folder", hint=f"there is no {path}"
        )
    found = sorted(Path(".llmbatch").glob("*.status.json"), key=lambda path: path.stat().st_mtime, reverse=True)
    if not found:
        raise UsageError("no run has been started from this folder")
    return found


def _read(path: Path) -> dict[str, Any]:
    from llmbatch.progress import read_status

    facts = read_status(path)
    if facts is None:
        raise UsageError(f"{path} is gone")
    return facts


def _watch(path: Path, json: bool) -> int:
    """Show the run until it is over; returns its exit status."""
    if json or not sys.stdout.isatty():
        last = _tell(path, json)
    else:
        last = _draw(path)
        typer.echo(shown(line(last)))
    code = last.get("exit_code")
    return Exit.BUG if state_of(last) == "died" or code is None else int(code)


def _draw(path: Path) -> dict[str, Any]:
    from llmbatch.progress import from_json
    from llmbatch.progress.live import Live

    facts = _read(path)
    if not _goes_on(facts):
        return facts
    with Live(sys.stdout, lambda: from_json(facts), facts["pipeline"]):
        while _goes_on(facts):
            time.sleep(_PERIOD_S)
            facts = _read(path)
    return facts


def _tell(path: Path, json: bool) -> dict[str, Any]:
    """A line for each change of the state or of a hundredth of the rows, and at least every half minute."""
    before: tuple[object, ...] = ()
    told_at = 0.0
    while True:
        facts = _read(path)
        mark = facts["updated_at"] if json else _mark(facts)
        if (facts["run_id"], state_of(facts), mark) != before or (not json and time.monotonic() - told_at > _LINE_S):
            before, told_at = (facts["run_id"], state_of(facts), mark), time.monotonic()
            _print(facts, json)
        if not _goes_on(facts):
            return facts
        time.sleep(_PERIOD_S)


def _print(facts: dict[str, Any], json: bool) -> None:
    import orjson

    typer.echo(escaped(orjson.dumps(facts).decode()) if json else shown(line(facts)))
    sys.stdout.flush()


def _mark(facts: dict[str, Any]) -> tuple[object, ...]:
    rows = facts["rows"]
    part = 100 * (rows["total"] - rows["pending"]) // rows["total"] if rows["total"] else 100
    return part, rows["failed"] > 0, facts.get("breaker")


def _goes_on(facts: dict[str, Any]) -> bool:
    return state_of(facts) in _OVER
