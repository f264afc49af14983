"""The end of a run, however it ended: status, results, reports, the last word."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
import orjson
import typer

from llmbatch import ledger as ledgers
from llmbatch import report as reports
from llmbatch.atomic import write_text
from llmbatch.cli.wiring import Wired
from llmbatch.errors import Exit, Stop, StorageError
from llmbatch.ledger import Run, RowAnswer
from llmbatch.reply import parse_reply
from llmbatch.sink import Answer, Target, write_results
from llmbatch.types import Row, Status
from llmbatch.validate import output_of

if TYPE_CHECKING:
    from llmbatch.cli.night import Night

_CHUNK = 2_000  #: rows whose answers are read from the ledger at once


@dataclass(frozen=True, slots=True)
class Answered:
    """What is known when the last row has its outcome, or the run was told to stop."""

    run: Run
    reason: Stop | StorageError | None
    wired: Wired


def finish(night: Night, answered: Answered) -> int:
    """Write results and reports for what there is; returns the exit status."""
    status, code = verdict(night, answered.reason)
    con = ledgers.connect(night.order.ledger_file)
    try:
        written = write_results(_pairs(night, con, answered.run), _target(night))
        report = _report(night, answered, con, status, code, written.files)
        text = orjson.dumps(reports.to_json(report), option=orjson.OPT_INDENT_2).decode()
        write_text(night.order.output_folder / "report.json", text)
        write_text(night.order.output_folder / "report.html", reports.html(report))
        ledgers.end(con, answered.run, ended_at=time.time(), status=status, exit_code=code, report=text)
    finally:
        con.close()
    _last_word(night, answered, report, text)
    return code


def verdict(night: Night, reason: Stop | StorageError | None) -> tuple[str, Exit]:
    """How the run ended: a word for the report, and the exit status."""
    if isinstance(reason, StorageError):
        return "storage_failed", Exit.STORAGE
    if reason is not None:
        return reason.status, reason.exit_code
    failed = night.tally.rows[Status.FAILED]
    if failed > allowed(night.pipeline.settings.limits.max_failed, night.total):
        return "too_many_failed", Exit.TOO_MANY_FAILED
    return "finished", Exit.OK


def allowed(max_failed: str, total: int) -> float:
    """Failed rows that a run of ``total`` rows may have: "20", or "1%" of them."""
    if max_failed.endswith("%"):
        return total * float(max_failed[:-1]) / 100
    return float(max_failed)


def _pairs(night: Night, con: duckdb.DuckDBPyConnection, run: Run) -> Iterator[tuple[Row, Answer]]:
    rows = night.rows()
    while chunk := list(islice(rows, _CHUNK)):
        answers = ledgers.answers_between(con, run, chunk[0].row_no, chunk[-1].row_no + 1)
        for row in chunk:
            yield row, _answer(answers.get(row.row_no))


def _answer(found: RowAnswer | None) -> Answer:
    if found is None:
        return Answer(Status.PENDING, None, None, None, None, None, None)
    valid = found.status in (Status.DONE, Status.REUSED)
    parsed = output_of(parse_reply(found.raw)) if valid and found.raw is not None else None
    error = None if found.failure is None else f"{found.failure}: {found.reason}"
    return Answer(
        status=found.status,
        error=error,
        key=found.key,
        model=found.model,
        cost_usd=found.cost_usd,
        output=parsed[0] if parsed else None,
        last_reply=None if valid else found.raw,
    )
