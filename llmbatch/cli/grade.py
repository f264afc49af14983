"""llmbatch grade: how good the outputs of a stored run are. It sends nothing and changes nothing."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmbatch.cli import flags
from llmbatch.cli.gate import dumped, shown
from llmbatch.cli.order import ledger_file
from llmbatch.cli.reading import reading
from llmbatch.errors import Exit, InputError, PipelineError, UsageError

if TYPE_CHECKING:
    import duckdb

    from llmbatch.grade import Graded
    from llmbatch.ledger import Begun
    from llmbatch.pipeline import Pipeline
    from llmbatch.sink import Answer
    from llmbatch.source import Source
    from llmbatch.types import Json, Row

EXIT_STATUS = """EXIT STATUS

0 graded
1 fault in llmbatch
2 mistake in usage, pipeline or input
7 a grader is below its floor
74 the ledger cannot be read
75 a run holds the ledger"""

_MOST_GOLD = 1_000_000  #: rows of a gold file, which are held in memory


def grade(
    pipeline: flags.PipelineFolder,
    run: Annotated[
        str | None, typer.Argument(metavar="[RUN]", help="A run_id or its beginning; else the last run.")
    ] = None,
    sample: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Only N rows, chosen by their keys: the same ones each time.")
    ] = None,
    gold: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="JSONL or Parquet with the id column and what is right; joined by id."),
    ] = None,
    input: Annotated[
        list[str] | None,
        typer.Option("--input", "-i", metavar="FILE", help="The run's input, where it has moved. Repeatable."),
    ] = None,
    ledger: flags.LedgerFile = None,
    set_: flags.Set = None,
    json: flags.Json = False,
) -> int:
    """Grade the outputs of a stored run with the graders that pipeline.toml names now.

    Outputs come from the ledger, rows from the run's input. Nothing is sent and nothing is changed.
    """
    from llmbatch.cli.make import usable

    loaded, renderer = usable(pipeline, set_ or ())
    with reading(ledger or ledger_file(pipeline)) as con:
        from llmbatch.ledger import begun

        found = begun(con, run or "")
        if found is None:
            raise UsageError(f"no run {run or ''} of {pipeline}".replace("  ", " "), hint="see `llmbatch runs`")
        from llmbatch.cli.quality import ready

        graded = _graded(loaded, ready(loaded, renderer), con, found, input or [], gold, sample)
    if json:
        typer.echo(dumped({"run_id": found.run.run_id, "pipeline": loaded.name, "graders": _plain(graded)}))
    else:
        typer.echo(shown("\n".join(_text(loaded, found, graded))))
    return Exit.QUALITY if any(one.below_floor for one in graded) else Exit.OK


def _graded(
    pipeline: Pipeline,
    graders: dict[str, Any],
    con: duckdb.DuckDBPyConnection,
    found: Begun,
    inputs: list[str],
    gold: str | None,
    sample: int | None,
) -> tuple[Graded, ...]:
    """Every grader's verdict on the run's rows."""
    from tempfile import TemporaryDirectory

    from llmbatch.grade import Scores
    from llmbatch.source import open_source

    told = pipeline.settings.quality.graders
    if not told:
        raise PipelineError(f"{pipeline.folder / 'pipeline.toml'} names no graders", hint="see docs/quality.md")
    scores = {name: Scores(name, told[name].passes, told[name].floor) for name in graders}
    right = _gold(pipeline, gold) if gold else None
    with TemporaryDirectory() as spool, open_source(inputs or _inputs(found), Path(spool)) as source:
        for row, answer in _rows(source, con, found, sample):
            columns = row.columns if right is None else _with_gold(row, right, pipeline)
            for name, grader in graders.items():
                scores[name].add(grader.grade(answer.output, columns), failed=answer.output is None)
    return tuple(one.graded() for one in scores.values())


def _inputs(found: Begun) -> list[str]:
    if not found.inputs or "-" in found.inputs:
        raise UsageError(f"what run {found.run.run_id} read is not on disk", hint="name a copy of it with --input")
    return list(found.inputs)


def _rows(
    source: Source, con: duckdb.DuckDBPyConnection, found: Begun, sample: int | None
) -> Iterator[tuple[Row, Answer]]:
    """The rows that were answered or failed; all of them, or a sample of the lowest places."""
    from itertools import islice

    from llmbatch.cli.answers import answered_rows
    from llmbatch.grade import place
    from llmbatch.types import Status

    if source.fingerprint() != found.fingerprint:
        names = ", ".join(file.name for file in source.files)
        raise InputError(
            f"{names} is not what run {found.run.run_id} read: its bytes differ",
            hint="name the file as it was then with --input",
        )
    rows = islice(source.rows(skip_bad=True), found.total)
    ended = (
        (row, answer)
        for row, answer in answered_rows(rows, con, found.run)
        if answer.status not in (Status.SKIPPED, Status.PENDING)
    )
    if sample is None:
        yield from ended
    else:
        placed = ((place(answer.key, row.row_no), row.row_no, row, answer) for row, answer in ended)
        yield from ((row, answer) for _, _, row, answer in heapq.nsmallest(sample, placed, key=lambda each: each[:2]))


def _gold(pipeline: Pipeline, name: str) -> dict[str, dict[str, Json]]:
    """The rows of a gold file by id."""
    from tempfile import TemporaryDirectory

    from llmbatch.source import open_source, row_id

    column = pipeline.settings.input.id
    if column is None:
        raise UsageError("--gold joins by id, and the pipeline names no id column", hint='[input] id = "..."')
    right: dict[str, dict[str, Json]] = {}
    with TemporaryDirectory() as spool, open_source([name], Path(spool)) as source:
        for row in source.rows():
            if row.columns.get(column) is None:
                raise InputError(f"{row.place}: id column {column!r} is missing or null")
            right[row_id(row, column)] = row.columns
            if len(right) > _MOST_GOLD:
                raise InputError(f"{name} has more than {_MOST_GOLD:,} rows", hint="a gold file is held in memory")
    return right


def _with_gold(row: Row, right: dict[str, dict[str, Json]], pipeline: Pipeline) -> dict[str, Json]:
    """The row with the gold file's gold columns; where it lacks the row, with none."""
    known = right.get(str(row.columns.get(pipeline.settings.input.id or "")), {})
    names = {told.gold for told in pipeline.settings.quality.graders.values() if told.gold is not None}
    return row.columns | {name: known.get(name) for name in names}


def _plain(graded: tuple[Graded, ...]) -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(tuple[Any, ...]).dump_python(graded, mode="json")


def _text(pipeline: Pipeline, found: Begun, graded: tuple[Graded, ...]) -> Iterator[str]:
    from llmbatch.report import quality

    yield f"run {found.run.run_id} of {pipeline.name}"
    for one in graded:
        yield f"\n{one.name}: {quality.grade(one)}"
        if one.details:
            parts = (f"{name} {value:.3g}" for name, value in one.details.items())
            yield f"  means: {', '.join(parts)}"
        if one.wanted_rows is not None and one.wanted_rows > one.rows:
            yield f"  for +- 2 points: {one.wanted_rows:,} rows"
        yield from quality.aligned(quality.table(one))
        if one.agreement is not None:
            yield f"  most frequent mistakes: {quality.mistakes(one) or 'none'}"
