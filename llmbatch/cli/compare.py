"""llmbatch compare: models and prompts on the same rows; the cheapest that is good enough."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from llmbatch.cli import flags
from llmbatch.cli.gate import dumped, note, shown
from llmbatch.errors import Exit, UsageError

if TYPE_CHECKING:
    from llmbatch.candidates import Comparison
    from llmbatch.cli.order import Order

EXIT_STATUS = """EXIT STATUS

0 a candidate is named, or no target was set
1 fault in llmbatch
2 mistake in usage, pipeline or input, nothing sent
4 budget reached
6 provider refused or unreachable
7 no candidate meets the target
74 storage failed
75 a run holds the ledger
129, 130, 143 interrupted"""

_TARGET = "What is wanted"


def compare(
    pipeline: flags.PipelineFolder,
    input: flags.InputFiles,
    models: Annotated[
        str | None,
        typer.Option(metavar="A,B,...", help="Models to compare; small>large is a ladder. \\[the pipeline's own]"),
    ] = None,
    prompts: Annotated[
        str | None,
        typer.Option(metavar="P,Q,...", help="Templates in place of prompt.j2, each with each model. \\[prompt.j2]"),
    ] = None,
    sample: Annotated[
        int, typer.Option(min=2, max=20_000, metavar="N", help="Rows that each candidate is asked.")
    ] = 300,
    seed: Annotated[int, typer.Option(min=0, metavar="N", help="Of the choice of rows.")] = 0,
    grader: Annotated[str | None, typer.Option(metavar="NAME", help="The grader that decides. \\[the first]")] = None,
    min_quality: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            metavar="SCORE",
            help="Name the cheapest whose mean score is so much.",
            rich_help_panel=_TARGET,
        ),
    ] = None,
    max_cost: Annotated[
        float | None,
        typer.Option(
            min=0,
            metavar="USD",
            help="Only those that cost so much per 1,000 rows; without --min-quality, the best of them.",
            rich_help_panel=_TARGET,
        ),
    ] = None,
    deadline: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help='Only those that would answer the whole input by "06:00", or in "8h".',
            rich_help_panel=_TARGET,
        ),
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option(metavar="USD", help="Spend at most this much on the comparison.", rich_help_panel=_TARGET),
    ] = None,
    provider: flags.Provider = None,
    base_url: flags.BaseUrl = None,
    allow_insecure: flags.AllowInsecure = False,
    tier: Annotated[
        Literal["standard", "flex", "batch"] | None,
        typer.Option(
            help="Whose price decides; batch is compared by calls at the standard tier.", rich_help_panel=flags.SENDING
        ),
    ] = None,
    concurrency: flags.Concurrency = None,
    ledger: flags.LedgerFile = None,
    prices: flags.Prices = None,
    set_: flags.Set = None,
    skip_bad_rows: flags.SkipBadRows = False,
    write: Annotated[
        bool,
        typer.Option(
            "--write", help="Put the choice and its certificate into pipeline.toml.", rich_help_panel=flags.OUTPUT
        ),
    ] = False,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Write a page.", rich_help_panel=flags.OUTPUT)
    ] = None,
    json: flags.Json = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.", rich_help_panel=flags.OUTPUT)] = False,
) -> int:
    """Ask several models or prompts the same rows, and name the cheapest that is good enough.

    It is selected on one half of the rows and certified on the other. A later run reuses the answers.
    """
    from llmbatch.candidates import Goal
    from llmbatch.cli import beside, choice, contest
    from llmbatch.cli.order import Order
    from llmbatch.cli.places import refuse_paths

    order = Order(
        pipeline=pipeline,
        inputs=tuple(input),
        ledger=ledger,
        overrides=flags.overrides(
            set_,
            provider=provider,
            base_url=base_url,
            allow_insecure=allow_insecure,
            concurrency=concurrency,
            tier=tier,
            budget=budget,
        ),
        prices=prices,
        skip_bad_rows=skip_bad_rows,
        json=json,
        quiet=quiet,
    )
    refuse_paths(order)
    goal = Goal(min_quality, max_cost, None if deadline is None else _seconds(deadline))
    if write:
        if not goal.any:
            raise UsageError("--write needs a target", hint="for instance --min-quality 0.95")
        choice.refuse_to_write(order, _names(models, "--models"))
    asked = contest.Asked(_names(models, "--models"), _names(prompts, "--prompts"), sample, seed, goal, grader)
    try:
        found = contest.compare(order, asked)
    except beside.Stopped as stopped:
        return stopped.code
    if write and found.named is not None:
        found = choice.write(order, found)
    _show(found, order, html)
    return Exit.QUALITY if goal.any and found.named is None else Exit.OK


def _seconds(deadline: str) -> float:
    from datetime import datetime

    from llmbatch.cli.order import until

    return until(deadline, datetime.now())  # noqa: DTZ005 - as people give it: local time


def _names(text: str | None, flag: str) -> tuple[str, ...]:
    """The names of a comma-separated list. Raises UsageError for an empty one."""
    if text is None:
        return ()
    names = tuple(name.strip() for name in text.split(","))
    if not all(names):
        raise UsageError(f"{flag} {text!r} has an empty name", hint=f"{flag} a,b")
    return names


def _show(found: Comparison, order: Order, html: Path | None) -> None:
    from llmbatch.atomic import write_text
    from llmbatch.report import contest, contest_page

    if html is not None:
        write_text(html, contest_page.html(found))
    typer.echo(dumped(contest.to_json(found)) if order.json else shown(contest.text(found)))
    for line in found.notes:
        note(line)
