"""What the ledger holds of earlier runs, for the report of this one."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import duckdb
import orjson

from llmbatch import ledger as ledgers
from llmbatch.report import PastRun, VersionCost, per_1000

_RUNS = 30
_VERSIONS = 10


def trend(con: duckdb.DuckDBPyConnection, run: ledgers.Run) -> tuple[PastRun, ...]:
    """The last 30 runs before this one that ended, oldest first."""
    found = [_past(run_id, orjson.loads(text)) for run_id, text in ledgers.reports_before(con, run, _RUNS)]
    return tuple(reversed(found))


def version_costs(con: duckdb.DuckDBPyConnection) -> tuple[VersionCost, ...]:
    """The bills of the ten newest prompt versions, newest first."""
    return tuple(
        VersionCost(
            bill.version,
            bill.label,
            bill.runs,
            bill.answers,
            None if bill.answers and bill.unpriced == bill.answers else bill.dollars,
            bill.unpriced,
        )
        for bill in ledgers.spent_by_version(con, _VERSIONS)
    )


def _past(run_id: str, facts: dict[str, Any]) -> PastRun:
    """Of a report of any release: the fields taken are the stable ones."""
    rows, dollars = facts["rows"], facts["cost"]["total_usd"]
    cost = None if dollars is None else Decimal(str(dollars))
    return PastRun(
        run_id=run_id,
        started_at=facts["started_at"],
        status=facts["status"],
        prompt_version=facts["prompt_version"],
        rows=rows["total"],
        done=rows["done"],
        cost_usd=cost,
        per_1000_rows_usd=per_1000(cost, rows["total"] - rows["pending"]),
        per_1000_done_usd=per_1000(cost, rows["done"]),
    )
