"""Runs that are no nights, a judge's and a candidate's: their budget, what they count for, and how they end."""

from __future__ import annotations

import time
from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING, NoReturn

import duckdb
import orjson

from llmbatch import ledger as ledgers
from llmbatch import report as reports
from llmbatch.cli import ending
from llmbatch.cli.gate import complain
from llmbatch.errors import Exit
from llmbatch.grade import Quality
from llmbatch.pipeline import Pipeline

if TYPE_CHECKING:
    from llmbatch.cli.night import Night


class Stopped(Exception):
    """It stopped before it had reached every row; it has been said why."""

    def __init__(self, code: Exit) -> None:
        super().__init__(code)
        self.code = code


def within(pipeline: Pipeline, budget: Decimal | None) -> Pipeline:
    """The same under a budget, if there is one."""
    if budget is None:
        return pipeline
    settings = pipeline.settings
    limits = settings.limits.model_copy(update={"budget_usd": budget.normalize()})
    return replace(pipeline, settings=settings.model_copy(update={"limits": limits}))


def charged(con: duckdb.DuckDBPyConnection, answered: ending.Answered) -> Decimal:
    """What it counts for against a budget that others share."""
    bills = ledgers.bills(con, runs=(answered.run.run_no,))
    return ledgers.charged(bills, answered.wired.worst_case.stored)


def end(
    con: duckdb.DuckDBPyConnection, night: Night, answered: ending.Answered, status: str, found: Quality | None = None
) -> reports.RunReport:
    """Enter how it ended in the ledger. Rows that failed are no fault of it."""
    code = Exit.OK if answered.reason is None else ending.verdict(night, answered.reason, None)[1]
    report = ending.report_of(night, answered, con, status, code, {}, found)
    text = orjson.dumps(reports.to_json(report)).decode()
    ledgers.end(con, answered.run, ended_at=time.time(), status=status, exit_code=code, report=text)
    answered.status.end(status)
    answered.display.end(status, code)
    return report


def stop(what: str, hint: str | None, code: Exit) -> NoReturn:
    """Say why it stopped. Raises Stopped."""
    complain(what, hint or "the same command goes on; what is stored is not paid for again", code)
    raise Stopped(code)
