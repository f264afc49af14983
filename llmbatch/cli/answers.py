"""A run's rows with their answers, out of the input and the ledger: for results, and for grading them again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import duckdb

from llmbatch import ledger as ledgers
from llmbatch.ledger import RowAnswer, Run
from llmbatch.reply import text_of
from llmbatch.sink import Answer
from llmbatch.types import Row, Status
from llmbatch.validate import output_of

_FIRST_ANSWERS = 50  #: rows whose answers are read from the ledger at once, before it is known how long they are
_MOST_ANSWERS = 2_000
_MOST_CHARS = 4 * 2**20  #: of their raw replies


def answered_rows(rows: Iterable[Row], con: duckdb.DuckDBPyConnection, run: Run) -> Iterator[tuple[Row, Answer]]:
    """The rows of a run's input, from its first on, each with how it ended."""
    answers: dict[int, RowAnswer] = {}
    size, until = _FIRST_ANSWERS, 0
    for row in rows:
        if row.row_no >= until:
            until = row.row_no + size
            answers = ledgers.answers_between(con, run, row.row_no, until)
            chars = sum(len(answer.raw or "") for answer in answers.values())
            size = max(1, min(_MOST_ANSWERS, size * _MOST_CHARS // max(1, chars)))
        yield row, _answer(answers.pop(row.row_no, None))


def _answer(found: RowAnswer | None) -> Answer:
    if found is None:
        return Answer(Status.PENDING, None, None, None, None, None, None)
    valid = found.status in (Status.DONE, Status.REUSED)
    error = None if found.failure is None else f"{found.failure}: {found.reason}"
    return Answer(
        status=found.status,
        error=error,
        key=found.key,
        model=found.model,
        cost_usd=found.cost_usd,
        output=output_of(text_of(found.raw)) if valid and found.raw is not None else None,
        last_reply=None if valid else found.raw,
        asked=found.asked,
    )
