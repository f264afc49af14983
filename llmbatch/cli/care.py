"""llmbatch doctor and gc: looking after the ledger between runs."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmbatch.cli.flags import Json, LedgerFile, PipelineFolder
from llmbatch.cli.gate import dumped, shown
from llmbatch.cli.places import ledger_file
from llmbatch.errors import Exit, StorageError, UsageError

if TYPE_CHECKING:
    from llmbatch.ledger import Collected, Diagnosis, Repaired

DOCTOR_EXIT_STATUS = """EXIT STATUS

0 healthy, or repaired ·
1 fault in llmbatch ·
2 mistake in usage, or there is no ledger ·
74 damaged, or the disk fails ·
75 a run holds the ledger"""

GC_EXIT_STATUS = """EXIT STATUS

0 done ·
1 fault in llmbatch ·
2 mistake in usage, or there is no ledger ·
74 the ledger is damaged, or the disk is full; it is as it was ·
75 a run holds the ledger"""


def doctor(
    pipeline: PipelineFolder,
    ledger: LedgerFile = None,
    repair: Annotated[
        bool, typer.Option("--repair", help="Mend what is damaged, on a copy; the damaged files are kept.")
    ] = False,
    json: Json = False,
) -> int:
    """Say whether the ledger is whole, what is wrong, and what to do. Changes nothing without --repair."""
    from llmbatch import ledger as ledgers

    path = _existing(pipeline, ledger)
    mended: Repaired | None = None
    with ledgers.Lock(path) as lock:
        found = ledgers.examine(path)
        if repair:
            ledgers.remove_leftovers(path)
            if not found.healthy and found.repairable:
                mended = ledgers.repair(path)
        healthy = ledgers.examine(path).healthy if repair else found.healthy
    if json:
        repaired = asdict(mended) if mended else None
        typer.echo(dumped({**_facts(found), "last_owner_died": lock.died, "repair": repaired}))
    else:
        typer.echo(shown("\n".join([*_told(found, lock.died), *(_mended(mended) if mended else [])])))
    return Exit.OK if healthy else Exit.STORAGE


def gc(
    pipeline: PipelineFolder,
    ledger: LedgerFile = None,
    keep_nights: Annotated[
        int, typer.Option("--keep-nights", min=1, metavar="N", help="Keep what the last N finished nights used.")
    ] = 30,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be dropped, and drop nothing.")] = False,
    json: Json = False,
) -> None:
    """Drop stored replies that no recent night used, and shrink the ledger.

    A night is a run that reached every row, with the unfinished runs it went on with. Runs and their reports stay. A
    reply that is dropped is paid for again if its row ever comes back.
    """
    from llmbatch import ledger as ledgers

    path = _existing(pipeline, ledger)
    if not path.exists():
        raise StorageError(f"the ledger {path} is gone", hint="`llmbatch doctor PIPELINE` says how to go on")
    with ledgers.Lock(path):
        collected = ledgers.collect(path, keep_nights, dry_run=dry_run)
    if json:
        typer.echo(dumped({**asdict(collected), "dropped_usd": float(collected.dropped_usd), "dry_run": dry_run}))
    else:
        typer.echo(shown("\n".join(_swept(collected, keep_nights))))


def _existing(pipeline: Path, ledger: Path | None) -> Path:
    """The ledger's path. Raises UsageError when it is not there and never was."""
    from llmbatch.ledger import beside

    path = ledger or ledger_file(pipeline)
    if not path.exists() and not beside(path).exists():
        raise UsageError(f"there is no ledger at {path}", hint="run the pipeline first, or name the file with --ledger")
    if path.is_dir():
        raise UsageError(f"{path} is a folder, not a ledger", hint="name the file with --ledger")
    return path


def _facts(found: Diagnosis) -> dict[str, Any]:
    return {"healthy": found.healthy, "repairable": found.repairable, **asdict(found)}


def _told(found: Diagnosis, died: str | None) -> list[str]:
    lines = [found.ledger]
    if found.schema_version is not None:
        size = f"{_bytes(found.bytes)}, log {_bytes(found.wal_bytes)}"
        lines.append(f"  schema version {found.schema_version}, {size}")
    if counts := found.counts:
        lines.append(
            f"  runs {counts['runs']:,} (unfinished {counts['unfinished_runs']:,}), attempts {counts['attempts']:,},"
            f" keys {counts['keys']:,}, outcomes {counts['outcomes']:,}"
        )
    if found.last_seq is not None and found.recorded_seq is not None:
        lines.append(f"  last attempt {found.last_seq:,}, recorded {found.recorded_seq:,}")
    if died:
        lines.append(f"note: the last process that held it ended without letting go ({died}); nothing need be done")
    for finding in found.findings:
        lines.append(f"{finding.word if finding.damage else 'note'}: {finding.what}")
        if finding.mend:
            lines.append(f"  {finding.mend}")
    lines.append("healthy" if found.healthy else "not healthy")
    return lines


def _mended(done: Repaired) -> list[str]:
    lines = ["repaired, on a copy that is now in place"]
    if done.wal_kept < done.wal_bytes:
        lines.append(f"  of the log's {done.wal_bytes:,} bytes the first {done.wal_kept:,} were replayed")
    if done.attempts_dropped is None:
        lines.append("  how many attempts are lost is unknown: there was no record of the last one")
    elif done.attempts_dropped:
        lines.append(
            f"  {done.attempts_dropped:,} of {done.last_seq:,} attempts are dropped; those replies would be paid again"
        )
    else:
        lines.append("  no attempt is dropped")
    lines += [f"  the damaged file is kept: {name}" for name in done.kept_as]
    return lines


def _swept(done: Collected, keep_nights: int) -> list[str]:
    if done.before == done.after:
        return [f"nothing to drop: every reply was used by the last {keep_nights:,} finished nights or since"]
    dry = done.bytes_after is None
    lines = [f"{'would keep' if dry else 'kept'} what was used since run {done.kept_from}"]
    for name, rows in done.before.items():
        lines.append(f"  {name:<9} {rows:>12,} -> {done.after[name]:>12,}")
    if done.bytes_after is not None:
        lines.append(f"  {'bytes':<9} {done.bytes_before:>12,} -> {done.bytes_after:>12,}")
    lines.append(f"  the dropped replies cost ${done.dropped_usd:,.4f} once")
    return lines


def _bytes(count: int) -> str:
    return f"{count / 1e6:,.1f} MB" if count >= 1e5 else f"{count:,} bytes"
