"""A run's rows with their answers, out of the input and the ledger: for results, and for grading them again."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass

import duckdb

from llmbatch import ledger as ledgers
from llmbatch.ledger import RowAnswer, Run
from llmbatch.reply import text_of
from llmbatch.sink import Answer
from llmbatch.types import Row, Status
from llmbatch.validate import output_of

_FIRST_ANSWERS = 50  #: rows whose answers are read from the ledger at once, before it is known how long they are
_MOST_ANSWERS = 4_000
_MOST_CHARS = 2 * 2**20  #: of their raw replies
_VALID = frozenset({Status.DONE, Status.REUSED})


def answered_rows(
    rows: Iterable[Row], total: int, con: duckdb.DuckDBPyConnection, run: Run
) -> Generator[tuple[Row, Answer]]:
    """The first ``total`` rows of a run's input, none left out, each with how it ended.

    Answers are read ahead in a thread with a connection of its own: DuckDB works on another core. Close this before
    ``con``, also when what is done with the rows fails.
    """
    with closing(ledgers.second_connection(con)) as second, ThreadPoolExecutor(1, "answers") as pool:

        def read(low: int, size: int) -> Future[_Chunk]:
            return pool.submit(_read, second, run, low, size)

        chunk = _Chunk(0, 0, {})
        ahead = read(0, _FIRST_ANSWERS)
        for row in rows:
            if row.row_no >= chunk.until:
                chunk = ahead.result()
                if chunk.until < total:
                    ahead = read(chunk.until, chunk.next_size)
            yield row, answer_of(chunk.answers.pop(row.row_no, None))


@dataclass(frozen=True, slots=True)
class _Chunk:
    """Answers read at once."""

    until: int
    size: int
    answers: dict[int, RowAnswer]

    @property
    def next_size(self) -> int:
        """Rows to read next, so that their replies take about as much memory as they may."""
        chars = sum(len(answer.raw or "") for answer in self.answers.values())
        return max(1, min(_MOST_ANSWERS, self.size * _MOST_CHARS // max(1, chars)))


def _read(con: duckdb.DuckDBPyConnection, run: Run, low: int, size: int) -> _Chunk:
    return _Chunk(low + size, size, ledgers.answers_between(con, run, low, low + size))


def answer_of(found: RowAnswer | None) -> Answer:
    """What results have of it; None: the row is pending."""
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
        found.rung,
    )
