"""Two runs side by side: the rows that did not end in the same reply."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import duckdb
import orjson

from llmbatch.errors import UsageError
from llmbatch.ledger.faults import storage_faults
from llmbatch.ledger.parts import raw_in_parts
from llmbatch.ledger.statements import statements

_PAGE = 2_000  #: rows whose replies are in memory at once


@dataclass(frozen=True, slots=True)
class NamedRun:
    """A run as it was found by its name."""

    run_no: int
    run_id: str
    version: str
    fingerprint: str
    id_column: str | None


@dataclass(frozen=True, slots=True)
class Side:
    """How a row ended in one of the runs."""

    row_no: int
    status: str
    failure: str | None
    raw: str | None  #: the reply that serves it, or the last invalid one


@dataclass(frozen=True, slots=True)
class Pair:
    """A row of two runs; a side is None where that run has no such row, or no outcome for it."""

    row_id: str | None
    a: Side | None
    b: Side | None


@storage_faults()
def run_named(con: duckdb.DuckDBPyConnection, name: str) -> NamedRun:
    """The run whose run_id begins so. Raises UsageError when there is none, or more than one."""
    found = con.execute(statements()["runs_named"], [name]).fetchall()
    if len(found) != 1:
        raise UsageError(
            f"{'no run' if not found else f'{len(found)} runs'} of this ledger begin with {name!r}",
            hint="name it as `llmbatch runs` does",
        )
    run_no, run_id, version, fingerprint, settings = found[0]
    return NamedRun(run_no, run_id, version, fingerprint, orjson.loads(settings).get("input", {}).get("id"))


def matched_by(a: NamedRun, b: NamedRun) -> Literal["id", "row_no", "key"]:
    """How rows of two runs are told to be the same.

    By id where both have an id column; else by number where they read the same input; else by request, which finds
    nothing across prompt versions.
    """
    if a.id_column is not None and b.id_column is not None:
        return "id"
    return "row_no" if a.fingerprint == b.fingerprint else "key"


def differing(con: duckdb.DuckDBPyConnection, a: NamedRun, b: NamedRun) -> Iterator[Pair]:
    """Rows that did not end in the same attempt, in the order of ``b``; memory holds a page of 2,000 of them.

    What equal rows are need not be read: a reply is stored once, and both runs name it by its ``seq``.
    """
    with storage_faults():
        con.execute(statements()["diff_rows"], {"a": a.run_no, "b": b.run_no, "by": matched_by(a, b)})
        size, _, _ = sizes(con, a, b)
        for after in range(0, size, _PAGE):
            page = {"after": after, "upto": after + _PAGE}
            rows = con.execute(statements()["diff_page"], page).fetchall()
            # two steps: a join that also carries the raw replies would read all of them
            seqs = [seq for row in rows for seq in row[-2:] if seq is not None]
            raws = {seq: raw for seq, *_, raw in con.execute(statements()["serving"], [seqs]).fetchall()}
            raws |= raw_in_parts(con, [seq for seq, raw in raws.items() if raw is None])
            yield from (_pair(*row[:-2], *map(raws.get, row[-2:])) for row in rows)


@storage_faults()
def sizes(con: duckdb.DuckDBPyConnection, a: NamedRun, b: NamedRun) -> tuple[int, int, int]:
    """Rows that differ, and those of each run that have an outcome; after ``differing`` began."""
    row = con.execute(statements()["diff_size"], {"a": a.run_no, "b": b.run_no}).fetchone()
    assert row is not None
    return row


def _pair(a_no: int | None, b_no: int | None, row_id: str | None, *rest: Any) -> Pair:
    a_status, b_status, a_failure, b_failure, a_raw, b_raw = rest
    return Pair(
        row_id,
        None if a_no is None else Side(a_no, a_status, a_failure, a_raw),
        None if b_no is None else Side(b_no, b_status, b_failure, b_raw),
    )
