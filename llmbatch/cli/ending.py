"""The end of a run, however it ended: status, results, reports, the last word."""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import duckdb
import orjson
import typer

from llmbatch import ledger as ledgers
from llmbatch import report as reports
from llmbatch.atomic import write_text
from llmbatch.cli import quality, schedules, screen
from llmbatch.cli.answers import answered_rows
from llmbatch.cli.gate import complain, event_log
from llmbatch.cli.order import command, how_to_go_on
from llmbatch.cli.past import earlier, trend, versions
from llmbatch.cli.publishing import addressed, partitioned, put_away
from llmbatch.cli.wiring import Wired
from llmbatch.errors import Exit, InputError, Stop, StorageError
from llmbatch.grade import Canary, Quality
from llmbatch.ledger import Run
from llmbatch.progress import Display, StatusFile
from llmbatch.report.words import outcome
from llmbatch.scrub import escaped
from llmbatch.sink import Answer, write_results
from llmbatch.source import refuse_changed
from llmbatch.types import Row, Status

if TYPE_CHECKING:
    from llmbatch.cli.night import Night
    from llmbatch.engines.auto import Conductor


@dataclass(frozen=True, slots=True)
class Answered:
    """What is known when the last row has its outcome, or the run was told to stop."""

    run: Run
    reason: Stop | StorageError | None
    wired: Wired
    display: Display
    status: StatusFile
    canary: Canary | None = None
    led: Conductor | None = None  #: what led the run by a schedule


def finish(night: Night, answered: Answered) -> int:
    """Write results and reports for what there is; returns the exit status."""
    con = ledgers.connect(night.order.ledger_file)
    try:
        try:
            results, found = _results(night, answered, con)
        except InputError as error:
            answered, results, found = replace(answered, reason=changed(error)), {}, None
        if (reason := answered.reason) is not None:
            reason.hint = reason.hint or how_to_go_on()
        status, code = verdict(night, reason, found)
        files = addressed(night.order, results | _files(night))
        report = report_of(night, answered, con, status, code, files, found)
        text = orjson.dumps(reports.to_json(report), option=orjson.OPT_INDENT_2).decode()
        write_text(night.order.output_folder / "report.json", text)
        write_text(night.order.output_folder / "report.html", reports.html(report))
        put_away(night.order)
        ledgers.end(con, answered.run, ended_at=time.time(), status=status, exit_code=code, report=text)
    finally:
        con.close()
    answered.status.end(status, code)
    answered.display.end(status, code)
    night.outside.ended(report, reason)
    _last_word(night, answered, report, text)
    return code


def _results(night: Night, answered: Answered, con: duckdb.DuckDBPyConnection) -> tuple[dict[str, str], Quality]:
    """Write the results, and grade the rows as they pass."""
    run, pipeline = answered.run, night.pipeline
    rates = quality.rates(pipeline, night.tally, run)
    with closing(_pairs(night, con, run)) as pairs:
        written = write_results(quality.graded(pairs, night.gathered, rates), night.target)
    whole = answered.reason is None
    found = quality.conclude(pipeline, night.gathered, con, run, rates, answered.canary, whole=whole)
    files = {"results": str(written.results), "failed": str(written.failed)}
    return files | partitioned(night.order, written.results), found


def changed(error: InputError) -> StorageError:
    """What it means when an input that could be read before the run cannot be read, or is another, in or after it."""
    return StorageError(
        f"the input changed during the run, and results would mix two inputs, so none were written: {error.message}",
        hint="when it is whole, type the same command again; answers are stored and not paid for again",
    )


def verdict(night: Night, reason: Stop | StorageError | None, found: Quality | None) -> tuple[str, Exit]:
    """How the run ended: a word for the report, and the exit status."""
    if isinstance(reason, StorageError):
        return "storage_failed", Exit.STORAGE
    if reason is not None:
        return reason.status, reason.exit_code
    failed = night.tally.rows[Status.FAILED]
    if failed > allowed(night.pipeline.settings.limits.max_failed, night.total):
        return "too_many_failed", Exit.TOO_MANY_FAILED
    if found is not None and quality.faults(night.pipeline, found):
        return "quality_failed", Exit.QUALITY
    return "finished", Exit.OK


def allowed(max_failed: str, total: int) -> float:
    """Failed rows that a run of ``total`` rows may have: "20", or "1%" of them."""
    if max_failed.endswith("%"):
        return total * float(max_failed[:-1]) / 100
    return float(max_failed)


def _pairs(night: Night, con: duckdb.DuckDBPyConnection, run: Run) -> Generator[tuple[Row, Answer]]:
    yield from answered_rows(night.rows(), night.total, con, run)
    refuse_changed(night.source, night.survey)  # before the new results take the place of the old


def report_of(
    night: Night,
    answered: Answered,
    con: duckdb.DuckDBPyConnection,
    status: str,
    code: Exit,
    files: dict[str, str],
    found: Quality | None,
) -> reports.RunReport:
    """The report of a run that has ended so."""
    run, wired, settings = answered.run, answered.wired, night.pipeline.settings
    before = earlier(con, run)
    facts = reports.RunFacts(
        run_id=run.run_id,
        pipeline=night.pipeline.name,
        prompt_version=night.pipeline.version,
        status=status,
        exit_code=code,
        started_at=run.started_at,
        ended_at=time.time(),
        price_source=wired.prices.source(),
        label=settings.label,
        model=settings.request.asked,
        input=night.order.shown_inputs,
        command=command(),
        concurrency_final=wired.limits().concurrency,
        limit_changes=wired.limit_changes(),
        budget_usd=settings.limits.budget_usd,
        hedged=wired.tail.hedges,
        resumed=_resumed(con, run),
        changes=_changes(night, con, run),
        structured_output=wired.structured_output,
        files=files,
        notes=_notes(night, answered.reason, found),
        trend=trend(before),
        quality=found,
        rung_scores=quality.by_rung(night.gathered),
        schedule=schedules.told(answered.led, night.tally, run) if answered.led is not None else None,
        planned=wired.planned(),
    )
    report = reports.build(night.tally, facts)
    return replace(report, cost=replace(report.cost, by_prompt_version=versions(con, before, report)))


def _files(night: Night) -> dict[str, str]:
    folder = night.order.output_folder
    return {
        "report": str(folder / "report.json"),
        "page": str(folder / "report.html"),
        "ledger": str(night.order.ledger_file),
    }


def _resumed(con: duckdb.DuckDBPyConnection, run: Run) -> tuple[reports.ResumedRun, ...]:
    names = ledgers.run_ids(con)
    bills = [(names[no], *ledgers.spent(con, (no,))) for no in run.resumes]
    return tuple(reports.ResumedRun(name, None if unpriced else dollars) for name, dollars, unpriced in bills)


def _changes(night: Night, con: duckdb.DuckDBPyConnection, run: Run) -> reports.Changes | None:
    by_id = night.pipeline.settings.input.id is not None
    reached = sum(rows for status, rows in night.tally.rows.items() if status is not Status.PENDING)
    if not by_id and reached < night.tally.total:
        return None  # a pending row has no key by which it could be found again
    counts = ledgers.changes(con, run, by_id=by_id)
    if counts is None:
        return None
    return reports.Changes(
        reused=night.tally.rows[Status.REUSED],
        new=counts["new"] or 0,
        changed=counts["changed"],
        gone=counts["gone"] or 0,
    )


def _notes(night: Night, reason: Stop | StorageError | None, found: Quality | None) -> tuple[str, ...]:
    notes = [] if reason is None else [reason.message]
    notes += quality.faults(night.pipeline, found) if found is not None else ()
    if night.survey.blank_lines:
        notes.append(f"{night.survey.blank_lines:,} blank lines in the input are no rows")
    return tuple(notes)


def _last_word(night: Night, answered: Answered, report: reports.RunReport, text: str) -> None:
    """Print the report, and where to find the rest."""
    order = night.order
    if order.json:
        typer.echo(escaped(text))
    elif not order.quiet and event_log() is None:
        typer.echo(reports.text(report, width=screen.width(), color=screen.colored()))
    if (reason := answered.reason) is not None and event_log() is None:  # else it is in run_finished
        complain(reason.message, reason.hint, reason.exit_code)
    elif report.exit_code and order.quiet and event_log() is None:  # a status that is not 0 is never left unexplained
        complain(outcome(report), f"the report: {report.files['report']}", report.exit_code)
