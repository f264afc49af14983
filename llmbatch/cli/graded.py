"""A stored run's rows with their answers: graded by what asks nobody, and drawn for what asks a model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb

from llmbatch.candidates import Drawing
from llmbatch.cli.answers import answered_rows
from llmbatch.errors import InputError, UsageError
from llmbatch.grade import Graded, Grader, Scores, closed_lists, label_of, text_of
from llmbatch.ledger import Begun
from llmbatch.pipeline import Pipeline
from llmbatch.settings import ASKING, GraderSettings
from llmbatch.sink import Answer
from llmbatch.source import Source, Stamp, open_source, row_id
from llmbatch.types import Json, Row, Status

_MOST_GOLD = 1_000_000  #: rows of a gold file, which are held in memory


@dataclass(slots=True)
class Population:
    """The rows that a grader could ask its model about, and those drawn of them."""

    drawing: Drawing
    answered: int = 0
    failed: int = 0
    ungraded: int = 0
    labelled: set[int] = field(default_factory=set)  #: row_no: to be asked about, drawn or not

    @property
    def drawn(self) -> set[int]:
        """row_no of the rows drawn."""
        return set(self.drawing.rows())


@dataclass(frozen=True, slots=True)
class Stored:
    """A run as the ledger and its input have it."""

    pipeline: Pipeline
    found: Begun
    source: Source
    stamp: Stamp  #: of the input when its bytes were compared with what the run read
    gold: Mapping[str, dict[str, Json]] | None  #: a gold file's rows by id, in place of the input's gold columns
    seed: int

    def rows(self, con: duckdb.DuckDBPyConnection) -> Iterator[tuple[Row, Answer]]:
        """The rows that were answered or failed, with gold. Raises InputError when the input has changed."""
        from itertools import islice

        if self.source.stamp() != self.stamp:
            raise InputError(
                f"{_names(self.source)} changed while it was graded",
                hint="wait until it is written, then name the file as it was then with --input",
            )
        rows = islice(self.source.rows(skip_bad=True), self.found.total)
        with closing(answered_rows(rows, self.found.total, con, self.found.run)) as pairs:
            for row, answer in pairs:
                if answer.status not in (Status.SKIPPED, Status.PENDING):
                    yield self._with_gold(row), answer

    def _with_gold(self, row: Row) -> Row:
        if self.gold is None:
            return row
        known = self.gold.get(str(row.columns.get(self.pipeline.settings.input.id or "")), {})
        names = {told.gold for told in self.pipeline.settings.quality.graders.values() if told.gold is not None}
        return Row(row.row_no, row.columns | {name: known.get(name) for name in names}, row.file, row.line)

    def stratum(self, answer: Answer) -> str:
        """Rows of a kind: that failed, that have the same labels of a closed list, else that are about as long."""
        if answer.output is None:
            return "failed"
        for name in closed_lists(self.pipeline.schema):
            value = answer.output.get(name)
            labels = sorted(map(label_of, value)) if isinstance(value, list) else [label_of(value)]
            return ",".join(labels)[:200]
        return f"{len(text_of(answer.output)).bit_length():02}"


def checked(source: Source, found: Begun) -> Stamp:
    """The input's stamp, after every byte was read. Raises InputError when it is not what the run read."""
    stamp = source.stamp()
    if source.fingerprint() != found.fingerprint:
        raise InputError(
            f"{_names(source)} is not what run {found.run.run_id} read: its bytes differ",
            hint="name the file as it was then with --input",
        )
    return stamp


def _names(source: Source) -> str:
    return ", ".join(file.name for file in source.files)


def grade(
    con: duckdb.DuckDBPyConnection, stored: Stored, graders: Mapping[str, Grader], sample: int | None
) -> tuple[Graded, ...]:
    """What the graders that ask nobody say of all rows, or of a sample in which each stratum has its share."""
    told = stored.pipeline.settings.quality.graders
    scores = {name: Scores(name, told[name].passes, told[name].floor) for name in graders}
    chosen = None if sample is None or not graders else _drawn(con, stored, sample)
    for row, answer in stored.rows(con) if graders else ():
        if chosen is None or row.row_no in chosen:
            for name, grader in graders.items():
                scores[name].add(grader.grade(answer.output, row.columns), failed=answer.output is None)
    return tuple(one.graded() for one in scores.values())


def _drawn(con: duckdb.DuckDBPyConnection, stored: Stored, sample: int) -> set[int]:
    drawing = Drawing(stored.seed, sample)
    for row, answer in stored.rows(con):
        drawing.add(row.row_no, stored.stratum(answer), answer.key)
    return set(drawing.rows())


def populations(
    con: duckdb.DuckDBPyConnection, stored: Stored, rows: Mapping[str, int], labels: Mapping[str, Mapping[str, Any]]
) -> dict[str, Population]:
    """Of each grader that asks a model: the rows it could be asked about, ``rows`` of them drawn, and those labelled.

    ``labels`` are the labels by grader, by the row's id.
    """
    asking = {name: told for name, told in stored.pipeline.settings.quality.graders.items() if told.kind in ASKING}
    found = {name: Population(Drawing(stored.seed, rows[name])) for name in asking}
    for row, answer in stored.rows(con) if asking else ():
        for name, told in asking.items():
            _count(found[name], stored, told, row, answer)
            mine = labels.get(name, {}).get(identity(stored.pipeline, row))
            if mine is not None and answer.output is not None:
                found[name].labelled.add(row.row_no)
    return found


def _count(population: Population, stored: Stored, told: GraderSettings, row: Row, answer: Answer) -> None:
    if told.gold is not None and row.columns.get(told.gold) is None:
        population.ungraded += 1
    elif answer.output is None:
        population.failed += 1
    else:
        population.answered += 1
        population.drawing.add(row.row_no, stored.stratum(answer), answer.key)


def identity(pipeline: Pipeline, row: Row) -> str:
    """A row's id as text; empty where the pipeline names no id column."""
    column = pipeline.settings.input.id
    return "" if column is None or row.columns.get(column) is None else row_id(row, column)


def by_id(pipeline: Pipeline, name: str, flag: str) -> dict[str, dict[str, Json]]:
    """The rows of a file that is joined by id. Raises UserError."""
    column = pipeline.settings.input.id
    if column is None:
        raise UsageError(f"{flag} joins by id, and the pipeline names no id column", hint='[input] id = "..."')
    right: dict[str, dict[str, Json]] = {}
    with TemporaryDirectory() as spool, open_source([name], Path(spool)) as source:
        for row in source.rows():
            if row.columns.get(column) is None:
                raise InputError(f"{row.place}: id column {column!r} is missing or null")
            right[row_id(row, column)] = row.columns
            if len(right) > _MOST_GOLD:
                raise InputError(
                    f"{name} has more than {_MOST_GOLD:,} rows", hint=f"what {flag} names is held in memory"
                )
    return right


def inputs_of(found: Begun) -> list[str]:
    """The files that a run read. Raises UsageError when they are not on disk."""
    if not found.inputs or "-" in found.inputs:
        raise UsageError(f"what run {found.run.run_id} read is not on disk", hint="name a copy of it with --input")
    return list(found.inputs)
