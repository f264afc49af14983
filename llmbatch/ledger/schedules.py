"""How a night's schedule stands, and how long batches took: what --tier auto goes on with."""

from __future__ import annotations

from collections.abc import Sequence

import duckdb

from llmbatch.ledger.faults import storage_faults
from llmbatch.ledger.statements import statements


@storage_faults()
def keep_schedule(con: duckdb.DuckDBPyConnection, run_no: int, text: str) -> None:
    """Store a run's schedule (JSON text); the last one counts."""
    con.execute(statements()["keep_schedule"], [f"{run_no} {text}"])


@storage_faults()
def kept_schedule(con: duckdb.DuckDBPyConnection, run_nos: Sequence[int]) -> str | None:
    """The last schedule that one of these runs stored."""
    row = con.execute(statements()["kept_schedule"], [list(run_nos)]).fetchone()
    return None if row is None else str(row[0])


@storage_faults()
def batch_times(con: duckdb.DuckDBPyConnection, *, simulated: bool, most: int = 20) -> list[float]:
    """Seconds that the newest batches took, newest first; infinite for one that was ended without an answer.

    Without ``simulated``, those of rehearsals are left out: they must not steer a real night.
    """
    found = con.execute(statements()["batch_times"], {"simulated": simulated, "most": most})
    return [float(text) for (text,) in found.fetchall()]
