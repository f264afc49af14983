"""What is wrong with a ledger, found without changing it."""

from __future__ import annotations

import re
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb

from llmbatch.errors import StorageError
from llmbatch.ledger.faults import first_line
from llmbatch.ledger.files import leftovers, size_of, wal_of
from llmbatch.ledger.schema import SCHEMA_VERSION, open_file, version_of
from llmbatch.ledger.sequence import Sequence, beside, recorded, sequence
from llmbatch.ledger.statements import statements

#: orphans that no run can leave behind, and that a repair removes: they can be computed or asked again
_DAMAGE = {
    "outcomes_without_attempt": "outcomes whose attempt is not there",
    "outcomes_without_run": "outcomes whose run is not there",
    "climbs_without_attempt": "climbs whose run or attempt is not there",
    "run_ends_without_run": "ends of runs that are not there",
    "requests_without_attempt": "requests without an attempt",
    "parts_without_attempt": "parts of texts without an attempt",
}
#: orphans that lose nothing: their replies are still used
_USABLE = {
    "attempts_without_request": "attempts without their prompt (their replies are still used)",
    "attempts_without_run": "attempts whose run is not there (their replies are still used)",
    "runs_without_prompt_version": "runs without their prompt version (only history shows it)",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """Something a person should know."""

    what: str
    mend: str | None  #: what to do; None when nothing need be done
    damage: bool = True
    repairable: bool = True
    word: str = "damaged"  #: what it is called where it stops a run


@dataclass(slots=True)
class Diagnosis:
    """All that was found; what could not be read is None or empty."""

    ledger: str
    bytes: int = 0
    wal_bytes: int = 0
    schema_version: int | None = None
    wal_broken_at: int | None = None  #: byte of the write-ahead log at which DuckDB refuses to go on
    last_seq: int | None = None
    recorded_seq: int | None = None  #: what the record beside the database says
    missing_attempts: int | None = None
    counts: dict[str, int] = field(default_factory=dict)
    orphans: dict[str, int] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)

    @property
    def healthy(self) -> bool:
        """Whether a run may go on with it."""
        return not any(finding.damage for finding in self.findings)

    @property
    def repairable(self) -> bool:
        """Whether `repair` can mend all that is damaged."""
        return all(finding.repairable for finding in self.findings if finding.damage)


def examine(path: Path) -> Diagnosis:
    """Look at everything, with the lock held; change nothing. Raises LedgerLocked when another program has it open."""
    found = Diagnosis(str(path))
    _record(path, found)
    for left in leftovers(path):
        note = f"{left} was left behind by a process that was killed"
        found.findings.append(Finding(note, "--repair removes it; so may you", damage=False))
    if not path.exists():
        found.findings.append(_gone(path, found))
        return found
    found.bytes, found.wal_bytes = size_of(path), size_of(wal_of(path))
    try:
        with closing(open_file(path, read_only=True)) as con:
            _inside(con, path, found)
    except StorageError as error:
        found.findings.append(_unreadable(found, error))
    except duckdb.Error as error:
        found.findings.append(_broken(path, error))
    return found


def _record(path: Path, found: Diagnosis) -> None:
    try:
        found.recorded_seq = recorded(path)
    except StorageError as error:
        found.findings.append(Finding(error.message, "--repair writes it anew from what the ledger holds"))


def _gone(path: Path, found: Diagnosis) -> Finding:
    return Finding(
        f"the ledger is gone; it held {found.recorded_seq or 0:,} attempts",
        f"put {path} back from a backup, or remove {beside(path)} to begin anew and pay for all of them again",
        repairable=False,
    )


def _inside(con: duckdb.DuckDBPyConnection, path: Path, found: Diagnosis) -> None:
    version = found.schema_version = version_of(con, path)
    if version > SCHEMA_VERSION:
        words = f"it has schema version {version}; this llmbatch knows {SCHEMA_VERSION}"
        found.findings.append(
            Finding(words, "upgrade llmbatch; the ledger is as it was", repairable=False, word="too new")
        )
        return
    if version == 0:
        lost = found.missing_attempts = found.recorded_seq or 0
        if lost:
            found.findings.append(_lost(lost, lost))
        return
    _numbers(sequence(con, found.recorded_seq), found)
    if version == SCHEMA_VERSION:
        read_everything(con)
        found.counts = _row(con, "counts")
        found.orphans = _row(con, "orphans")
        found.findings += _orphans(found.orphans)


def read_everything(con: duckdb.DuckDBPyConnection) -> None:
    """Read every value of every table, so that DuckDB compares every block with its checksum. Raises duckdb.Error."""
    for (table,) in con.execute("select table_name from duckdb_tables()").fetchall():
        con.execute(f'select bit_xor(hash(t)) from "{table}" t').fetchone()  # noqa: S608 - names are the file's own


def _numbers(numbers: Sequence, found: Diagnosis) -> None:
    found.last_seq, found.missing_attempts = numbers.last, numbers.missing
    if numbers.missing:
        found.findings.append(_lost(numbers.missing, numbers.last))
    if found.recorded_seq is None:
        note = "there is no record of the last stored attempt to compare with"
        found.findings.append(Finding(note, "the next run makes one", damage=False))


def _lost(count: int, last: int) -> Finding:
    return Finding(
        f"{count:,} of the {last:,} attempts that were stored are missing: the database or its log was damaged",
        "restore both from a backup if there is one; else --repair goes on without them, and what is needed of them "
        "is paid for again",
    )


def _orphans(orphans: dict[str, int]) -> list[Finding]:
    damage = [
        Finding(f"{words}: {orphans[name]:,}", "--repair removes them; nothing is paid for again because of it")
        for name, words in _DAMAGE.items()
        if orphans[name]
    ]
    notes = [
        Finding(f"{words}: {orphans[name]:,}", None, damage=False) for name, words in _USABLE.items() if orphans[name]
    ]
    return [*damage, *notes]


def _unreadable(found: Diagnosis, error: StorageError) -> Finding:
    """The file would not open, or is no ledger."""
    cause = error.__cause__
    if not isinstance(cause, duckdb.Error):
        return Finding(error.message, error.hint, repairable=False)
    words = first_line(cause)
    if "WAL" in words:
        found.wal_broken_at = broken_at(cause)
        return Finding(
            f"the write-ahead log cannot be replayed: {words}",
            "--repair keeps what stands before the damage, on a copy, and says how many attempts are dropped",
        )
    return Finding(
        f"it cannot be opened: {words}",
        "if it was a ledger, restore it from a backup; if it never was, name the right file with --ledger",
        repairable=False,
    )


def broken_at(error: BaseException | None) -> int | None:
    """The byte of the log at which replay failed; None when the log as a whole does not fit."""
    position = re.search(r"byte position (\d+)", str(error))
    return int(position[1]) if position else None


def _broken(path: Path, error: duckdb.Error) -> Finding:
    return Finding(
        f"its data cannot be read: {first_line(error)}",
        f"restore {path.name} from a backup, or move it and {beside(path).name} away to begin anew; keep them: "
        "replies in undamaged parts can still be read with DuckDB",
        repairable=False,
    )


def _row(con: duckdb.DuckDBPyConnection, name: str) -> dict[str, Any]:
    cursor = con.execute(statements()[name])
    names = [column[0] for column in cursor.description or ()]
    return dict(zip(names, cursor.fetchone() or (), strict=True))
