"""llmbatch runs, report and show: what was done, and what it cost. They send nothing and change nothing."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmbatch.cli import screen
from llmbatch.cli.flags import Json, LedgerFile, PipelineFolder
from llmbatch.cli.gate import dumped, shown
from llmbatch.cli.places import ledger_file
from llmbatch.cli.reading import reading
from llmbatch.errors import UsageError

if TYPE_CHECKING:
    import duckdb

    from llmbatch.report import Judging, RunReport

_NO_NIGHTS = ("compare", "graded")  #: status of runs that are asked for by name only


def runs(pipeline: PipelineFolder, ledger: LedgerFile = None, json: Json = False) -> None:
    """The history of a pipeline: a line per run, newest first."""
    from llmbatch.cli.history import table, versions
    from llmbatch.ledger import history

    with reading(ledger or ledger_file(pipeline)) as con:
        nights = history(con)
    color = screen.colored()
    typer.echo(dumped(nights) if json else table(nights, screen.width(), color=color))
    if not json and (beside := versions(nights, color=color)):
        typer.echo(f"\nprompt versions, over all runs\n{beside}")


def report(
    pipeline: PipelineFolder,
    run: Annotated[
        str | None, typer.Argument(metavar="[RUN]", help="A run_id or its beginning; else the last run.")
    ] = None,
    ledger: LedgerFile = None,
    json: Json = False,
    html: Annotated[Path | None, typer.Option("--html", metavar="FILE", help="Write the report as a page.")] = None,
    with_text: Annotated[
        bool, typer.Option("--with-text", help="With the text of failed rows; the report as stored has none.")
    ] = False,
) -> None:
    """The report of a run."""
    from llmbatch import report as reports
    from llmbatch.atomic import write_text
    from llmbatch.ledger import history

    with reading(ledger or ledger_file(pipeline)) as con:
        wanted = [n for n in history(con) if n["report"] and n["run_id"].startswith(run or "")]
        nights = [n for n in wanted if run or n["status"] not in _NO_NIGHTS]
        if not nights:
            raise UsageError(
                f"no finished run {run or ''} of {pipeline}".replace("  ", " "), hint="see `llmbatch runs`"
            )
        facts = with_judging(con, nights[0]["report"])
        if with_text:
            facts = reports.to_json(_with_text(con, reports.from_json(facts)))
    if html is not None:
        write_text(html, reports.html(reports.from_json(facts)))
        typer.echo(f"wrote {html}", err=True)
    if json:
        typer.echo(dumped(facts))
    elif html is None:
        typer.echo(reports.text(reports.from_json(facts), width=screen.width(), color=screen.colored()))


def with_judging(con: duckdb.DuckDBPyConnection, facts: dict[str, Any]) -> dict[str, Any]:
    """A stored report, with what graders that asked a model said of the run last, and what that cost."""
    from llmbatch import report as reports
    from llmbatch.ledger import judged_runs

    found: dict[str, list[Any]] = {}
    for one in judged_runs(con, facts["run_id"]):  # newest first
        found.setdefault(one.grader, []).append(one)
    if not found:
        return facts
    told = [reports.from_json(one.report).quality for many in found.values() for one in many[:1] if one.report]
    report = reports.with_grades(reports.from_json(facts), [graded for q in told if q for graded in q.graders])
    return reports.to_json(replace(report, judging=tuple(_bill(name, many) for name, many in found.items())))


def _bill(grader: str, runs: list[Any]) -> Judging:
    from llmbatch.report import Judging

    unknown = any(one.unpriced for one in runs)
    dollars = None if unknown else sum((one.usd for one in runs), Decimal(0))
    return Judging(grader, len(runs), sum(one.attempts for one in runs), dollars)


def _with_text(con: duckdb.DuckDBPyConnection, report: RunReport) -> RunReport:
    """The report with the rendered text of its examples, as far as the ledger has it."""
    from llmbatch.ledger import request_of

    def told(key: str | None) -> str | None:
        request = request_of(con, key) if key else None
        return request["user_message"] if request else None

    return replace(report, examples=tuple(replace(row, text=told(row.key)) for row in report.examples))


def show(
    pipeline: PipelineFolder,
    row: Annotated[str, typer.Argument(metavar="ROW", help="The row's id, or its number (0-based).")],
    ledger: LedgerFile = None,
    json: Json = False,
    raw: Annotated[bool, typer.Option("--raw", help="Show replies as they came, not their text alone.")] = False,
) -> None:
    """Everything about one row: why it was asked or reused, rendered request, every attempt with its verdict."""
    from llmbatch.cli.row import story, told

    with reading(ledger or ledger_file(pipeline)) as con:
        facts: dict[str, Any] | None = story(con, row, pipeline)
    if facts is None:
        raise UsageError(f"no run of {pipeline} has a row {row!r}", hint="name its id, or its 0-based number")
    typer.echo(dumped(facts) if json else shown(told(facts, raw=raw)))
