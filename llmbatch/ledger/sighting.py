"""Rows that are looked over and not asked for, in a temporary table: a million of them take no memory of ours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import duckdb

from llmbatch.ledger.faults import storage_faults
from llmbatch.ledger.statements import statements


@dataclass(frozen=True, slots=True)
class Sighted:
    """A row as a run would find it."""

    row_id: str | None
    key: str | None
    kind: str


class Sighting:
    """Takes rows in and counts them. Nothing is written to the ledger."""

    def __init__(self, con: duckdb.DuckDBPyConnection) -> None:
        self._con = con
        con.execute(statements()["sighted"])

    @storage_faults()
    def add(self, rows: Sequence[Sighted]) -> None:
        """Take in some rows."""
        if rows:
            keys, kinds = " ".join(row.key or "" for row in rows), " ".join(row.kind for row in rows)
            self._con.execute(statements()["sight"], [[row.row_id for row in rows], keys, kinds])

    @storage_faults()
    def counts(self) -> dict[str, tuple[int, int]]:
        """Rows and different requests of each kind."""
        return {
            kind: (rows, keys) for kind, rows, keys in self._con.execute(statements()["sighted_requests"]).fetchall()
        }

    @storage_faults()
    def changes(self, before: int | None, *, by_id: bool) -> dict[str, int | None] | None:
        """Rows new, changed and gone since a run, as ``ledger.changes`` has them; None when there was none."""
        if before is None:
            return None
        name = "sighted_changes_by_id" if by_id else "sighted_changes_by_key"
        row = self._con.execute(statements()[name], {"before": before}).fetchone()
        return None if row is None else dict(zip(("new", "changed", "gone"), row, strict=True))
