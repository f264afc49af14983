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

_STATUSES = {status.value: status for status in Status}
_NOT_ASKED = frozenset({Status.SKIPPED, Status.PENDING})
_DONE, _FREE = Status.DONE, Decimal(0)
_NOTHING = (None, None, None, None, None)


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
    rung: int = 0  #: which model of the ladder the row ended at


@storage_faults()
def answers_between(con: duckdb.DuckDBPyConnection, run: Run, low: int, high: int) -> dict[int, RowAnswer]:
    """Answers of rows ``low <= row_no < high``; rows without an outcome are absent (pending).

    A night is a run and the unfinished runs it resumes, so that a run that was killed and repeated gives the same
    results, to the byte, as an unbroken one: a row whose reply an earlier run of the same night paid for is ``done``.
    """
    night, rows = [*run.resumes, run.run_no], [run.run_no, low, high]
    serving = {seq: rest for seq, *rest in con.execute(statements()["served_between"], rows).fetchall()}
    long = raw_in_parts(con, [s for s, (*_, outcome, raw) in serving.items() if raw is None and outcome == "answered"])
    paid = {row_no: rest for row_no, *rest in con.execute(statements()["paid_between"], [night, low, high]).fetchall()}
    left: dict[int, set[int]] = {}  # by row: rungs whose answers did not serve
    for row_no, number in con.execute(statements()["climbs_between"], rows).fetchall():
        left.setdefault(row_no, set()).add(number)
    found = {}
    for row_no, status, failure, reason, key, seq in con.execute(statements()["outcomes_between"], rows).fetchall():
        run_no, asked_for, model, _, raw = serving.get(seq, _NOTHING)
        own = asked_for == row_no and run_no in night and status == "reused"
        shown = _DONE if own else _STATUSES[status]
        found[row_no] = RowAnswer(
            shown,
            failure,
            reason,
            key,
            model,
            long.get(seq) if raw is None else raw,
            _cost(shown, paid.get(row_no)),
            asked=row_no in paid,
            rung=_ended_at(left[row_no]) if row_no in left else 0,
        )
    return found


def _ended_at(left: set[int]) -> int:
    """The first rung that the row did not leave."""
    return next(number for number in range(len(left) + 1) if number not in left)


def _cost(status: Status, paid: list[Decimal | int | None] | None) -> Decimal | None:
    if paid is None:
        return None if status in _NOT_ASKED else _FREE
    dollars, unpriced = paid
    if unpriced or dollars is None:
        return None if unpriced else _FREE
    return Decimal(dollars)
