"""The number of the last committed attempt, kept outside the database.

DuckDB may open a damaged write-ahead log without a word and with fewer rows: it takes the rest for a torn tail. So
``<ledger>.seq`` holds the last number that a commit made durable, and every opening compares.

The file is 21 bytes, overwritten in place by one ``pwrite`` after each commit, without a sync. Written after the
commit, it can lag behind the database and never lead it. What it costs is below 0.01 ms a commit. What it does not
see: a machine that loses power may lose the last half minute of it, and with it the proof that attempts of that half
minute were stored.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import duckdb

from llmbatch.atomic import write_bytes
from llmbatch.errors import StorageError
from llmbatch.ledger.statements import statements

_BYTES = 21  #: twenty digits and a line end: well inside one disk sector, so it cannot be torn


@dataclass(frozen=True, slots=True)
class Sequence:
    """Which numbers of attempts are in the database, beside those that must be."""

    last: int  #: the highest number ever given, as far as database and record know
    missing: int  #: numbers up to ``last`` that are not there, and were not dropped on purpose


def beside(ledger: Path) -> Path:
    """The record's file."""
    return ledger.with_name(ledger.name + ".seq")


def recorded(ledger: Path) -> int | None:
    """The recorded number; None when there is no record. Raises StorageError when it cannot be read."""
    path = beside(ledger)
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StorageError(f"{path} cannot be read: {error.strerror}", hint="mend its permissions") from error
    if len(text) != _BYTES or not text[:-1].isdigit() or not text.endswith(b"\n"):
        raise StorageError(
            f"{path} does not hold the number of the last stored attempt",
            hint=f"`llmbatch doctor PIPELINE --ledger {ledger} --repair` writes it anew from what the ledger holds",
        )
    return int(text)


def sequence(con: duckdb.DuckDBPyConnection, record: int | None) -> Sequence:
    """Compare the database with the record (None: with nothing but itself)."""
    row = con.execute(statements()["sequence"]).fetchone()
    assert row is not None
    highest, gaps_through, after_gaps = row
    last = max(highest, record or 0)
    return Sequence(last=last, missing=max(last - gaps_through, 0) - after_gaps)


class SequenceRecord:
    """The record, open for writing by the ledger's owner."""

    def __init__(self, ledger: Path, seq: int) -> None:
        """Bring the record to ``seq``, synced, and keep it open. Raises StorageError."""
        write_record(ledger, seq)
        self._file = os.open(beside(ledger), os.O_WRONLY | os.O_CLOEXEC)

    def advance(self, seq: int) -> None:
        """Record the last committed number. Call it after the commit, never before. Raises OSError."""
        os.pwrite(self._file, _text(seq), 0)

    def close(self) -> None:
        """Sync and close. Raises OSError."""
        try:
            os.fdatasync(self._file)
        finally:
            os.close(self._file)


def write_record(ledger: Path, seq: int) -> None:
    """Replace the record, whole or not at all; also makes earlier renames in its folder last. Raises StorageError."""
    write_bytes(beside(ledger), _text(seq))


def _text(seq: int) -> bytes:
    return b"%020d\n" % seq
