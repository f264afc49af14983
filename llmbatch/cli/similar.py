"""Graders of kind "similarity": answer and gold as texts, embedded by a model, and how near they are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import duckdb

from llmbatch.cli.graded import Population, Stored
from llmbatch.cli.judges import Case
from llmbatch.cli.side import Side, rows_of, settings_of
from llmbatch.grade import Opinion, text_of
from llmbatch.grade.similar import SCHEMA, cosine, vector
from llmbatch.types import Json

_TEMPLATE = "{{ text }}"


def case(con: duckdb.DuckDBPyConnection, stored: Stored, name: str, population: Population) -> Case:
    """Everything that is to be embedded: of each row the answer's field, and gold. Raises UserError."""
    pipeline, told = stored.pipeline, stored.pipeline.settings.quality.graders[name]
    embeddings = pipeline.settings.quality.embeddings
    assert embeddings is not None  # see settings
    asking = pipeline.aside(settings_of(pipeline, embeddings, None), _TEMPLATE, SCHEMA, "[quality.embeddings]")
    side = Side(name, stored.found.run.run_id, asking, ())
    made = Case(name, told, population, side, 2, _nearness, drawn=frozenset(population.drawn))
    made.side = Side(name, side.run_id, asking, rows_of(iter(list(_asks(con, stored, made)))))
    return made


def _asks(con: duckdb.DuckDBPyConnection, stored: Stored, made: Case) -> Iterator[tuple[int, dict[str, Json]]]:
    field, gold = made.told.field or "", made.told.gold or ""
    for row, answer in stored.rows(con):
        if row.row_no in made.drawn and answer.output is not None:
            given, right = text_of(answer.output.get(field)).strip(), text_of(row.columns.get(gold)).strip()
            if not given or not right:  # no model embeds nothing
                made.settled[row.row_no] = float(given == right)
                continue
            yield 2 * row.row_no, {"text": given}
            yield 2 * row.row_no + 1, {"text": right}


def _nearness(said: Sequence[Mapping[str, Json]]) -> Opinion:
    nearness = cosine(*(vector(one["embedding"]) for one in said))
    return Opinion(nearness, None if nearness is not None else "no vectors of one length")
