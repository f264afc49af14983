"""What the ledger holds of one row: its last outcome, its request, every attempt."""

from __future__ import annotations

from typing import Any

import duckdb

from llmbatch.ledger.faults import storage_faults
from llmbatch.ledger.statements import statements


@storage_faults()
def outcomes_of(con: duckdb.DuckDBPyConnection, row: str, most: int = 50) -> list[dict[str, Any]]:
    """The newest outcomes of the row with this id, else with this number; keys as in ledger.sql's row_outcomes."""
    return _dicts(con.execute(statements()["row_outcomes"], {"row": row, "most": most}))


@storage_faults()
def version_of(con: duckdb.DuckDBPyConnection, version: str) -> dict[str, Any] | None:
    """What all requests of a prompt version share: model, system, params, schema, prompt, label."""
    return _first(con.execute(statements()["version_of"], [version]))


@storage_faults()
def request_of(con: duckdb.DuckDBPyConnection, key: str) -> dict[str, Any] | None:
    """What was sent under a key: user_message, model, system, params, schema, prompt_version."""
    return _first(con.execute(statements()["request_of"], [key]))


@storage_faults()
def attempts_of(con: duckdb.DuckDBPyConnection, key: str) -> list[dict[str, Any]]:
    """Every attempt made for a key, oldest first, in the columns of ledger.sql's attempts_of."""
    return _dicts(con.execute(statements()["attempts_of"], [key]))


@storage_faults()
def climbs_of(con: duckdb.DuckDBPyConnection, run_no: int, row_no: int) -> list[dict[str, Any]]:
    """The models of a ladder that a row left in a run: rung (from 0), key, seq, failure, reason."""
    return _dicts(con.execute(statements()["climbs_of"], [run_no, row_no]))


def _first(cursor: duckdb.DuckDBPyConnection) -> dict[str, Any] | None:
    rows = _dicts(cursor)
    return rows[0] if rows else None


def _dicts(cursor: duckdb.DuckDBPyConnection) -> list[dict[str, Any]]:
    names = [column[0] for column in cursor.description or ()]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
