"""What the ledger holds of a run's rows, in input order, for the results files."""

from __future__ import annotations

from decimal import Decimal

import duckdb

from llmbatch.ledger.faults import storage_faults
from llmbatch.ledger.parts import raw_in_parts
from llmbatch.ledger.runs import Run
from llmbatch.ledger.statements import statements
from llmbatch.noun import noun
from llmbatch.types import Status


@noun(frozen=True, slots=True)
class RowAnswer:
    """How a row ended, and the raw reply that serves it (or the last invalid one)."""

    status: Status
    failure: str | None
    reason: str | None
    key: str | None
    model: str | None  #: as returned
    raw: str | None
    cost_usd: Decimal | None  #: what this night paid for the row; 0 when a stored reply served it; None if unpriced
    asked: bool = False  #: this night made a call for it


@storage_faults()
def answers_between(con: duckdb.DuckDBPyConnection, run: Run, low: int, high: int) -> dict[int, RowAnswer]:
    """Answers of rows ``low <= row_no < high``; rows without an outcome are absent (pending).

    A night is a run and the unfinished runs it resumes, so that a run that was killed and repeated gives the same
    results, to the byte, as an unbroken one: a row whose reply an earlier run of the same night paid for is ``done``.
    """
    night = [*run.resumes, run.run_no]
    rows = con.execute(statements()["outcomes_between"], [run.run_no, low, high]).fetchall()
    seqs = [seq for *_, seq in rows if seq is not None]
    serving = {s: rest for s, *rest in con.execute(statements()["serving"], [seqs]).fetchall()}
    long = raw_in_parts(con, [s for s, (*_, outcome, raw) in serving.items() if raw is None and outcome == "answered"])
    paid = {row_no: rest for row_no, *rest in con.execute(statements()["paid_between"], [night, low, high]).fetchall()}
    found = {}
    for row_no, status, failure, reason, key, seq in rows:
        run_no, asked_for, model, _, raw = serving.get(seq, (None, None, None, None, None))
        own = status == Status.REUSED and run_no in night and asked_for == row_no
        shown = Status.DONE if own else Status(status)
        found[row_no] = RowAnswer(
            shown,
            failure,
            reason,
            key,
            model,
            raw or long.get(seq),
            _cost(shown, paid.get(row_no)),
            asked=row_no in paid,
        )
    return found


def _cost(status: Status, paid: list[Decimal | int | None] | None) -> Decimal | None:
    if paid is None:
        return None if status in (Status.SKIPPED, Status.PENDING) else Decimal(0)
    dollars, unpriced = paid
    if unpriced or dollars is None:
        return None if unpriced else Decimal(0)
    return Decimal(dollars)
