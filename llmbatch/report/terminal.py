"""RunReport -> the text at the end of a run."""

from __future__ import annotations

from collections.abc import Iterator
from io import StringIO
from itertools import chain, repeat
from typing import TYPE_CHECKING

from llmbatch.report import ladder, quality, schedule, tables, words
from llmbatch.report.advice import next_steps
from llmbatch.report.charts import trend_words
from llmbatch.report.model import RunReport
from llmbatch.report.words import count, plain, usd

if TYPE_CHECKING:
    from rich.console import Console

_STYLES = {"ok": "bold green", "warn": "bold yellow", "bad": "bold red"}
_LABEL_WIDTH = 11
_CLASSES = 3  #: of failures that have an example


def text(report: RunReport, *, width: int = 100, color: bool = False) -> str:
    """The report for a terminal of ``width`` columns; without ``color`` there is no escape sequence in it.

    The program's own words are ASCII, and foreign text (model names, reasons, paths) cannot move the cursor. Commands
    and paths stand on lines of their own and are never broken, so that they can be copied.
    """
    from rich.console import Console
    from rich.text import Text

    console = Console(
        file=StringIO(),
        width=width,
        height=100,  # with both given, nothing is asked of the environment
        force_terminal=color,
        no_color=not color,
        color_system="standard" if color else None,
        markup=False,
        emoji=False,
        highlight=False,
        legacy_windows=False,
    )
    with console.capture() as capture:
        console.print(Text(words.outcome(report), style=_STYLES[words.level(report)]))
        _facts(console, report)
        _files(console, report)
        _next(console, report)
    return "\n".join(line.rstrip() for line in capture.get().splitlines()) + "\n"


def _facts(console: Console, report: RunReport) -> None:
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 1))
    grid.add_column(width=_LABEL_WIDTH)
    grid.add_column(overflow="fold")
    for label, line in _lines(report):
        grid.add_row(Text(label, style="bold"), Text(line))
    console.print(grid)


def _lines(report: RunReport) -> Iterator[tuple[str, str]]:
    """Label and text, a line each; a label that is empty goes on with the one above."""
    yield "Run", words.identity(report)
    yield "Time", words.timing(report)
    yield "Rows", words.reconciliation(report)
    if changes := words.changes(report):
        yield "Changes", changes
    for label, classes in (("Failed", report.failures), ("Skipped", report.skips)):
        if listing := words.listing(classes):
            yield label, listing
            yield from (("", line) for line in _examples(report, label.lower()))
    yield "Attempts", words.attempts(report)
    yield "Tokens", words.tokens(report)
    yield from _cost(report)
    if report.ladder is not None:
        yield from zip(_labels("Ladder"), ladder.lines(report.ladder), strict=False)
    if (plan := words.planned(report)) is not None:
        yield "Planned", plan
    if report.schedule is not None:
        yield from zip(_labels("Schedule"), schedule.lines(report.schedule), strict=False)
    yield "Latency", words.latencies(report)
    if report.limits.concurrency_final is not None:
        yield "Concurrency", words.concurrency(report)
    yield from _quality(report)
    for label, run in zip(["Resumed", *[""] * len(report.resumed)], report.resumed, strict=False):
        yield label, f"{plain(run.run_id)}, {usd(run.cost_usd)}"
    for label, note in zip(["Notes", *[""] * len(report.notes)], words.notes(report), strict=False):
        yield label, plain(note)


def _examples(report: RunReport, status: str) -> Iterator[str]:
    """One row of each of the largest classes; all that are known where their text is shown."""
    shown: set[str] = set()
    for row in report.examples:
        if row.status != status or (row.failure in shown and row.text is None):
            continue
        if row.failure not in shown and len(shown) == _CLASSES:
            return
        shown.add(row.failure)
        identity = f"row {count(row.row_no)}" + ("" if row.id is None else f" ({row.id})")
        yield plain(f"{row.failure}: {identity}, {row.place}: {row.problem}")
        if row.text is not None:
            yield from (f"  {plain(line)}" for line in row.text.splitlines())


def _cost(report: RunReport) -> Iterator[tuple[str, str]]:
    cost = report.cost
    yield "Cost", words.total(report)
    for model in cost.by_model:
        sums = f"{words.number_of(model.attempts, 'answer')}, {count(model.input)} in, {count(model.output)} out"
        yield "", f"{plain(model.model)}: {usd(model.cost_usd)}, {sums}"
    if {tier.tier for tier in cost.by_tier} - {"standard"}:
        tiers = (f"{plain(t.tier)} {words.number_of(t.attempts, 'answer')} {usd(t.cost_usd)}" for t in cost.by_tier)
        yield "", f"by tier: {', '.join(tiers)}"
    yield from (("", remark) for remark in words.cost_remarks(report))
    if (trend := trend_words(report)) is not None:
        yield "", trend
    yield from zip(_labels("Versions"), _versions(report), strict=False)


def _versions(report: RunReport) -> Iterator[str]:
    """A line for each prompt version, the newest first; none when there has been only one."""
    for version, *figures, dollars in tables.versions(report):
        named = f" ({plain(version.sub)})" if version.sub else ""
        told = (f"{head.lower()} {cell.main}" for head, cell in zip(tables.VERSION_HEADS[1:], figures, strict=False))
        yield f"{plain(version.main)}{named}: {', '.join(told)}, {dollars.sub}"


def _quality(report: RunReport) -> Iterator[tuple[str, str]]:
    if report.quality is None:
        return
    lines = (f"{name}: {line}" for name, line in quality.grades(report.quality))
    unasked = (f"{plain(name)}: {quality.UNASKED}" for name in report.unasked)
    yield from zip(_labels("Quality"), chain(lines, unasked), strict=False)
    if report.quality.drift is not None:
        yield from zip(_labels("Drift"), quality.drift(report.quality.drift), strict=False)


def _labels(first: str) -> Iterator[str]:
    """A label, then none: the lines that go on."""
    yield first
    yield from repeat("")


def _files(console: Console, report: RunReport) -> None:
    for label, (name, path) in zip(["Files", *[""] * len(report.files)], report.files.items(), strict=False):
        _whole_line(console, f"{label:{_LABEL_WIDTH}} {plain(name):8} {plain(path)}")


def _next(console: Console, report: RunReport) -> None:
    from rich.padding import Padding
    from rich.text import Text

    steps = next_steps(report)
    if steps:
        console.print()
        console.print(Text("What to do next", style="bold"))
    for step in steps:
        console.print(Padding(Text(plain(step.text)), (0, 0, 0, 2)))
        if step.command:
            _whole_line(console, f"      {plain(step.command)}")


def _whole_line(console: Console, line: str) -> None:
    from rich.text import Text

    console.print(Text(line), soft_wrap=True)
