"""llmbatch grade: how good the outputs of a stored run are. It sends nothing without --ask."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmbatch.cli.flags import Json, LedgerFile, PipelineFolder, Prices, Set
from llmbatch.cli.gate import dumped, note, shown
from llmbatch.errors import Exit, UsageError

if TYPE_CHECKING:
    from llmbatch.cli.grading import Grades
    from llmbatch.cli.order import Order
    from llmbatch.cli.side import Look
    from llmbatch.grade import Graded

EXIT_STATUS = """EXIT STATUS

0 graded
1 fault in llmbatch
2 mistake in usage, pipeline or input
4 budget reached, not everything asked
6 provider refused or unreachable
7 a grader is below its floor
74 the ledger cannot be read or written
75 a run holds the ledger
129, 130, 143 interrupted"""

_ASKING = "Graders that ask a model"


def grade(
    pipeline: PipelineFolder,
    run: Annotated[
        str | None, typer.Argument(metavar="[RUN]", help="A run_id or its beginning; else the last run.")
    ] = None,
    sample: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Only N rows; each label, and failed rows, have their share."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, metavar="N", help="Of the choice of rows.")] = 0,
    gold: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="JSONL or Parquet with the id column and what is right; joined by id."),
    ] = None,
    ask: Annotated[
        bool,
        typer.Option("--ask", help="Ask them. Without it, what that would cost is told.", rich_help_panel=_ASKING),
    ] = False,
    budget: Annotated[
        str | None, typer.Option(metavar="USD", help="Spend at most this much on it.", rich_help_panel=_ASKING)
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="JSONL or Parquet with the id column and, in a column with the grader's name, what people say.",
            rich_help_panel=_ASKING,
        ),
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(metavar="RUN", help="Of pairs: the run with the other answers.", rich_help_panel=_ASKING),
    ] = None,
    input: Annotated[
        list[str] | None,
        typer.Option("--input", "-i", metavar="FILE", help="The run's input, where it has moved. Repeatable."),
    ] = None,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Write the run's report with these grades as a page.")
    ] = None,
    ledger: LedgerFile = None,
    prices: Prices = None,
    set_: Set = None,
    json: Json = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
) -> int:
    """Grade the outputs of a stored run with the graders that pipeline.toml names now.

    Outputs come from the ledger, rows from the run's input. Nothing is sent without --ask, and nothing is paid twice.
    """
    from llmbatch.cli import beside, grading
    from llmbatch.cli.order import Order
    from llmbatch.cli.places import refuse_paths

    order = Order(
        pipeline=pipeline,
        inputs=tuple(input or ()),
        ledger=ledger,
        overrides=tuple(set_ or ()),
        prices=prices,
        json=json,
        quiet=quiet,
    )
    refuse_paths(order)
    dollars = _dollars(budget)
    wanted = grading.Wanted(run or "", sample, seed, gold, labels, against, ask, dollars, page=html is not None)
    try:
        found = grading.grade(order, wanted)
    except beside.Stopped as stopped:
        return stopped.code
    _show(found, json=json)
    if html is not None:
        _write(html, order, found)
    return Exit.QUALITY if any(one.below_floor for one in found.graders) else Exit.OK


def _dollars(text: str | None) -> Decimal | None:
    try:
        dollars = None if text is None else Decimal(text)
    except InvalidOperation:
        dollars = Decimal(-1)
    if dollars is not None and not (dollars.is_finite() and dollars >= 0):
        raise UsageError(f"--budget {text!r} is no number of dollars", hint="for instance --budget 2.50")
    return dollars


def _show(found: Grades, *, json: bool) -> None:
    if json:
        typer.echo(dumped(_plain(found)))
    else:
        typer.echo(shown("\n".join(_text(found))))
    for line in found.notes:
        note(line)


def _write(html: Path, order: Order, found: Grades) -> None:
    """The report of the graded run as a page, with these grades in place of its own."""
    from llmbatch import report as reports
    from llmbatch.atomic import write_text
    from llmbatch.cli import grading
    from llmbatch.cli.look import with_judging
    from llmbatch.cli.reading import reading

    with reading(order.ledger_file) as con:
        facts = with_judging(con, grading.report_of(con, found.run_id))
    write_text(html, reports.html(reports.with_grades(reports.from_json(facts), found.graders)))
    typer.echo(f"wrote {html}", err=True)


def _plain(found: Grades) -> Any:
    from pydantic import TypeAdapter

    return {
        "run_id": found.run_id,
        "pipeline": found.pipeline.name,
        "graders": TypeAdapter(tuple[Any, ...]).dump_python(found.graders, mode="json"),
        "asking": [
            {
                "grader": look.side.grader,
                "model": look.side.pipeline.settings.request.model,
                "rows": len(look.side.rows),
                "to_ask": look.to_ask,
                "planned": TypeAdapter(Any).dump_python(look.planned, mode="json"),
            }
            for look in found.looks
        ],
        "notes": found.notes,
    }


def _text(found: Grades) -> Iterator[str]:
    yield f"run {found.run_id} of {found.pipeline.name}"
    for one in found.graders:
        yield from _grader(one)
    for look in found.unasked:
        yield f"\n{look.side.grader}: {_unasked(look)}"
        yield "  to ask, add --ask, and --budget USD to limit what it may cost"


def _grader(one: Graded) -> Iterator[str]:
    from llmbatch.report import quality

    yield f"\n{one.name}: {quality.grade(one)}"
    yield from (f"  {line}" for line in quality.behind(one))
    if one.details:
        parts = (f"{name} {value:.3g}" for name, value in one.details.items())
        yield f"  means: {', '.join(parts)}"
    if one.wanted_rows is not None and one.wanted_rows > one.rows:
        yield f"  for +- 2 points: {one.wanted_rows:,} rows"
    yield from quality.aligned(quality.table(one))
    if one.agreement is not None:
        yield f"  most frequent mistakes: {quality.mistakes(one) or 'none'}"


def _unasked(look: Look) -> str:
    """What asking would take."""
    from llmbatch.report.words import number_of, usd

    rows, plan = len(look.side.rows), look.planned
    cost = plan.cost_usd if plan is not None else None
    dollars = "no price is known" if cost is None else f"about {usd(cost.likely)} ({usd(cost.low)} to {usd(cost.high)})"
    model = look.side.pipeline.settings.request.model
    return (
        f"not asked: {model} would get {number_of(rows, 'question')}, {rows - look.to_ask:,} of them stored, {dollars}"
    )
