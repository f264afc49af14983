"""Dropping what no recent night used: the ledger is copied without it, and the copy takes its place."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb

from llmbatch.ledger.faults import storage_error
from llmbatch.ledger.files import put_in_place, rebuilt, remove_leftovers, size_of, wal_of
from llmbatch.ledger.runs import FINISHED
from llmbatch.ledger.schema import connect, migrate, open_file, quoted
from llmbatch.ledger.sequence import sequence
from llmbatch.ledger.statements import statements

_TABLES = ("attempts", "requests", "outcomes")
_MEMORY = "192MB"  #: for the keys of all rows, beside which the rows are joined


@dataclass(frozen=True, slots=True)
class Collected:
    """What a gc dropped, or would drop."""

    kept_from: str | None  #: run_id of the oldest run whose replies are kept; None when there is no run
    before: dict[str, int]  #: rows by table: attempts, requests, outcomes
    after: dict[str, int]
    dropped_usd: Decimal  #: what the dropped replies cost once, as far as they were priced
    bytes_before: int
    bytes_after: int | None  #: None in a dry run


def collect(path: Path, keep_nights: int, *, dry_run: bool = False) -> Collected:
    """Drop replies and outcomes that the newest ``keep_nights`` finished nights did not use, with the lock held.

    A night is a run that reached every row, with the unfinished runs it went on with; unfinished runs after the oldest
    kept night are kept with it. All attempts of a key that a kept run used or asked for stay, as do all runs and their
    reports. A kill at any moment leaves the old ledger or the new one. Raises StorageError.
    """
    try:
        remove_leftovers(path)
        with closing(connect(path, memory_limit=_MEMORY)) as con:
            first, run_id = _row(con, "first_kept_run", nights=keep_nights, finished=list(FINISHED))
            con.execute(statements()["kept_keys"], {"first": first})
            *dropped, dollars = _row(con, "would_be_dropped", first=first)
            before = _row(con, "kept_tables")
            last_seq = sequence(con, None).last
            con.execute("checkpoint")
            if size_of(wal_of(path)):
                con.execute(statements()["empty_log"])
        size = size_of(path)
        after = tuple(rows - gone for rows, gone in zip(before, dropped, strict=True))
        if not dry_run and any(dropped):
            _rebuild(path, first, last_seq, after)
            put_in_place(path)
    except (duckdb.Error, OSError) as error:
        raise storage_error(f"the ledger {path} could not be shrunk, and is as it was", error) from error
    finally:
        remove_leftovers(path)
    return Collected(
        kept_from=run_id,
        before=dict(zip(_TABLES, before, strict=True)),
        after=dict(zip(_TABLES, after, strict=True)),
        dropped_usd=Decimal(dollars),
        bytes_before=size,
        bytes_after=None if dry_run else size_of(path),
    )


def _rebuild(path: Path, first: int, last_seq: int, expected: tuple[int, ...]) -> None:
    """Write the new ledger beside the old one, which is whole in its one file: its log was checkpointed away."""
    if size_of(wal_of(path)):
        raise OSError("its write-ahead log could not be emptied")
    new = rebuilt(path)
    with closing(open_file(new, memory_limit=_MEMORY)) as con:
        migrate(con, new)
        (home,) = _row(con, "database")
        con.execute(f"attach {quoted(path)} as before (read_only)")
        con.execute("use before")
        con.execute(statements()["kept_keys"], {"first": first})
        con.execute(f'use "{home}"')
        con.execute(statements()["copy_kept"], {"first": first})
        con.execute(statements()["copy_climbs"], {"first": first})
        con.execute(statements()["copy_draws"])
        con.execute(statements()["gaps_are_meant"], [last_seq])
        if _row(con, "kept_tables") != expected:
            raise OSError("the copy does not hold what it must")
        con.execute("checkpoint")


def _row(con: duckdb.DuckDBPyConnection, name: str, **parameters: object) -> tuple[Any, ...]:
    row = con.execute(statements()[name], parameters or None).fetchone()
    assert row is not None
    return tuple(row)
