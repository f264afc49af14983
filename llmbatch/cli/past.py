"""What the ledger holds of earlier runs, for the report of this one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any

import duckdb
import orjson

from llmbatch import ledger as ledgers
from llmbatch.report import PastRun, RunReport, VersionCost, per_1000, to_json

_RUNS = 30
_VERSIONS = 10


#: run_id and report of runs before one, newest first
Earlier = Sequence[tuple[str, dict[str, Any]]]


def earlier(con: duckdb.DuckDBPyConnection, run: ledgers.Run) -> Earlier:
    """The last 30 runs before this one that ended."""
    return [(run_id, orjson.loads(text)) for run_id, text in ledgers.reports_before(con, run, _RUNS)]


def trend(before: Earlier) -> tuple[PastRun, ...]:
    """How each went, oldest first."""
    return tuple(_past(run_id, facts) for run_id, facts in reversed(before))


def versions(con: duckdb.DuckDBPyConnection, before: Earlier, report: RunReport) -> tuple[VersionCost, ...]:
    """The ten newest prompt versions beside each other, newest first: their bills, and how their last runs went."""
    known: dict[str, dict[str, float]] = {}
    for facts in (to_json(report), *(facts for _, facts in before)):
        for name, value in figures(facts):
            known.setdefault(facts["prompt_version"], {}).setdefault(name, value)
    return tuple(
        VersionCost(
            bill.version,
            bill.label,
            bill.runs,
            bill.answers,
            None if bill.answers and bill.unpriced == bill.answers else bill.dollars,
            bill.unpriced,
            **known.get(bill.version, {}),
        )
        for bill in ledgers.spent_by_version(con, _VERSIONS)
    )


def figures(facts: dict[str, Any]) -> Iterator[tuple[str, float]]:
    """What a report of any release tells of its run's answers."""
    attempts, graders = facts.get("attempts") or {}, (facts.get("quality") or {}).get("graders") or [{}]
    if graders[0].get("mean") is not None:
        yield "score", graders[0]["mean"]
    if answered := attempts.get("ok", 0) + attempts.get("invalid", 0):
        yield "invalid_rate", round(attempts["invalid"] / answered, 6)
    if (p50 := (facts.get("latency_ms") or {}).get("p50")) is not None:
        yield "p50_ms", p50


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
