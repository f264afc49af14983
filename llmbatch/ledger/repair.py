"""Mending a ledger on a copy. The damaged files are kept under another name, always."""

from __future__ import annotations

import os
import shutil
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import duckdb

from llmbatch.errors import StorageError
from llmbatch.ledger.doctor import broken_at, read_everything
from llmbatch.ledger.faults import storage_error
from llmbatch.ledger.files import put_in_place, rebuilt, remove_leftovers, size_of, wal_of
from llmbatch.ledger.schema import migrate, open_file, version_of
from llmbatch.ledger.sequence import recorded, sequence, write_record
from llmbatch.ledger.statements import statements

_MEMORY = "1GB"  #: deletes hold what they drop, and there may be a million rows of it
_CUTS = 8  #: one is enough for a damaged log, two for one that belongs to an older database


@dataclass(frozen=True, slots=True)
class Repaired:
    """What a repair did."""

    kept_as: tuple[str, ...]  #: the damaged files
    wal_bytes: int  #: length of the damaged log
    wal_kept: int  #: how many of its bytes were replayed, from the first on
    attempts_dropped: int | None  #: None when there was no record to compare with
    last_seq: int  #: the next attempt's number is one more


def repair(path: Path) -> Repaired:
    """Put a mended copy in the ledger's place, with the lock held.

    The copy is renamed over the database before the old log goes. A kill between the two leaves a log that DuckDB
    refuses because it is older than its database; the next repair sets it aside and drops nothing.

    Raises StorageError when the damage is not in the log, or the disk has no room for a copy; the ledger is untouched.
    """
    try:
        remove_leftovers(path)
        shutil.copyfile(path, rebuilt(path))
        if wal_of(path).exists():
            shutil.copyfile(wal_of(path), wal_of(rebuilt(path)))
        wal_kept = _cut(rebuilt(path))
        dropped, last = _settle(rebuilt(path), _record(path))
        repaired = Repaired(_keep(path), size_of(wal_of(path)), wal_kept, dropped, last)
        put_in_place(path)
        wal_of(path).unlink(missing_ok=True)
    except (duckdb.Error, OSError) as error:
        raise storage_error(f"the ledger {path} could not be repaired", error) from error
    finally:
        remove_leftovers(path)
    write_record(path, last)
    return repaired


def _cut(copy: Path) -> int:
    """Shorten the copy's log until DuckDB replays it; returns the bytes left. Raises StorageError if it never does."""
    wal = wal_of(copy)
    for _ in range(_CUTS):
        try:
            open_file(copy, read_only=True).close()
        except StorageError as error:
            if not size_of(wal):
                raise
            os.truncate(wal, broken_at(error.__cause__) or 0)
        else:
            break
    return size_of(wal)


def _settle(copy: Path, record: int | None) -> tuple[int | None, int]:
    """Make the copy whole in itself; returns how many attempts it lacks and the last number ever given."""
    with closing(open_file(copy, memory_limit=_MEMORY)) as con:
        if version_of(con, copy) == 0:
            migrate(con, copy)
        numbers = sequence(con, record)
        if numbers.missing:
            con.execute(statements()["gaps_are_meant"], [numbers.last])
        migrate(con, copy)
        con.execute(statements()["drop_orphans"])
        read_everything(con)
        con.execute(statements()["empty_log"])
    return None if record is None else numbers.missing, numbers.last


def _record(path: Path) -> int | None:
    try:
        return recorded(path)
    except StorageError:
        return None


def _keep(path: Path) -> tuple[str, ...]:
    """Give the damaged files a second name that lasts."""
    kept = path.with_name(f"{path.name}.damaged-{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}")
    names = [(path, kept)]
    if wal_of(path).exists():
        names.append((wal_of(path), wal_of(kept)))
    for old, new in names:
        os.link(old, new)
    return tuple(str(new) for _, new in names)
