"""What graders asked their own models about a run: runs beside it, bound to it by how their fingerprints begin."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import duckdb
import orjson

from llmbatch.ledger.faults import storage_faults
from llmbatch.ledger.statements import statements


@dataclass(frozen=True, slots=True)
class JudgedRun:
    """One such run."""

    run_id: str
    grader: str
    report: dict[str, Any] | None  #: None: it died
    usd: Decimal  #: of its priced attempts
    attempts: int
    unpriced: int  #: answers


@storage_faults()
def judged_runs(con: duckdb.DuckDBPyConnection, run_id: str) -> list[JudgedRun]:
    """What was asked about a run, newest first."""
    found = con.execute(statements()["judged_runs"], {"run_id": run_id}).fetchall()
    return [
        JudgedRun(
            run_id=name,
            grader=fingerprint.split(":")[2],
            report=orjson.loads(report) if report else None,
            usd=Decimal(usd),
            attempts=attempts,
            unpriced=unpriced,
        )
        for _, name, fingerprint, report, usd, attempts, unpriced in found
    ]


@storage_faults()
def judged_row(con: duckdb.DuckDBPyConnection, run_id: str, row_no: int) -> list[dict[str, Any]]:
    """What was asked about one row of a run, oldest first, in the columns of ledger.sql's judged_row."""
    cursor = con.execute(statements()["judged_row"], {"run_id": run_id, "row_no": row_no})
    names = [column[0] for column in cursor.description or ()]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


@storage_faults()
def same_rows(
    con: duckdb.DuckDBPyConnection, run_no: int, other: int, rows: Collection[int], *, by_id: bool
) -> dict[int, int]:
    """Of rows of a run, those that another run has too, by id or by number: row_no there by row_no here."""
    parameters = {"a": run_no, "b": other, "rows": list(rows), "by_id": by_id}
    return dict(con.execute(statements()["same_rows"], parameters).fetchall())
