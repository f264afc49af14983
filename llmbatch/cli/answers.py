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
_MOST_ANSWERS = 6_000
_MOST_CHARS = 4 * 2**20  #: of their raw replies
_VALID = frozenset({Status.DONE, Status.REUSED})


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
    valid, raw = found.status in _VALID, found.raw
    return Answer(
        found.status,
        None if found.failure is None else f"{found.failure}: {found.reason}",
        found.key,
        found.model,
        found.cost_usd,
        output_of(text_of(raw)) if valid and raw is not None else None,
        None if valid else raw,
        found.asked,
    )
