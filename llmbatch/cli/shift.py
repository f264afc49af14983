"""A worker from its checks to its last report. A run of it lasts until it is told to stop, or the UTC day ends."""

from __future__ import annotations

import asyncio
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import orjson
import typer
import uvloop

from llmbatch import ledger as ledgers
from llmbatch import report as reports
from llmbatch.atomic import write_text
from llmbatch.cli import quality, screen
from llmbatch.cli.descriptors import make_room
from llmbatch.cli.gate import complain, event_log
from llmbatch.cli.make import usable
from llmbatch.cli.night import SWITCH_S, modules_unswept
from llmbatch.cli.order import command
from llmbatch.cli.places import refuse_paths, status_file
from llmbatch.cli.signals import Signals
from llmbatch.cli.wiring import Wired, run_start, wire
from llmbatch.engines import live
from llmbatch.errors import Exit, Interrupted, Stop, StorageError, UsageError
from llmbatch.halt import Halt
from llmbatch.intake import Address, Broker, Files, Intake, Queues, open_broker
from llmbatch.intake.results import Results
from llmbatch.intake.rules import Drained, Rules
from llmbatch.ledger import Ledger, Lock, Run
from llmbatch.pipeline import Pipeline
from llmbatch.progress import Recorder, StatusFile, choose
from llmbatch.render import Renderer
from llmbatch.scrub import escaped, fault_in_words
from llmbatch.tally import Tally
from llmbatch.types import Provider
from llmbatch.validate import Judge

_DAY_S = 86_400


class DayEnded(Stop):
    """The day's run ends; the next one begins in the same process."""

    status = "drained"
    exit_code = Exit.OK


@dataclass(frozen=True, slots=True)
class Shift:
    """The flags of one `llmbatch worker`."""

    pipeline: Path
    address: Address
    queue: str | None
    dead: str | None
    replies: str | None
    create: bool
    max_deliveries: int
    lease_s: float
    output: Path | None
    roll_s: float
    roll_bytes: int
    ledger: Path | None
    overrides: tuple[str, ...]
    prices: Path | None
    idle_s: float | None
    limit: int | None
    json: bool
    quiet: bool

    @property
    def name(self) -> str:
        """The pipeline's name."""
        return self.pipeline.resolve().name

    @property
    def queues(self) -> Queues:
        """Their names."""
        rows = self.queue or self.name
        return Queues(rows, self.dead or f"{rows}-dead", self.replies)

    @property
    def output_folder(self) -> Path:
        """Of results and reports."""
        return self.output or Path("results") / f"{self.name}-worker"

    @property
    def ledger_file(self) -> Path:
        """The worker's own."""
        return self.ledger or Path(".llmbatch") / f"{self.name}-worker.duckdb"


@dataclass(frozen=True, slots=True)
class _Day:
    """One run of a worker, as it ended."""

    run: Run
    reason: Stop | StorageError | None
    wired: Wired
    status: StatusFile
    tally: Tally
    taken: int  #: messages, without those that went back


def work(shift: Shift) -> int:
    """Carry it out; returns the exit status."""
    with Signals() as signals:
        refuse_paths(shift)
        pipeline, renderer = usable(shift.pipeline, shift.overrides, prices=shift.prices)
        if pipeline.settings.limits.tier == "batch":
            raise UsageError("a worker answers at once; provider batches are for files: llmbatch run --tier batch")
        if pipeline.settings.provider.kind != "offline":
            make_room(pipeline.settings.limits.concurrency)
        shift.ledger_file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with Lock(shift.ledger_file):
            broker = _connected(shift)
            connected = True
            while True:
                day = uvloop.run(_day(shift, pipeline, renderer, signals, broker, connected=connected))
                signals.results_follow()
                code = _finish(shift, pipeline, day)
                if not isinstance(day.reason, DayEnded) or signals.taken:
                    return code
                connected = False  # the day's pump let go of it
                if shift.limit is not None:
                    shift = replace(shift, limit=max(0, shift.limit - day.taken))


async def _day(
    shift: Shift, pipeline: Pipeline, renderer: Renderer, signals: Signals, broker: Broker, *, connected: bool
) -> _Day:
    """One run: until the day ends, or something ends the worker. A broker that is away is waited for."""
    tally, halt = Tally(), Halt()
    sys.setswitchinterval(SWITCH_S)
    wired = wire(pipeline, tally, halt, None)
    with signals.stopping(halt, tally.noted) as cuts:
        ledger = await Ledger.open(shift.ledger_file)
        try:
            run = await ledger.ask(lambda con: ledgers.begin(con, _start(shift, pipeline)))
            provider, timed = await wired.wrapped(ledger, run)
            cuts.append(timed.cut)
            intake = _intake(shift, pipeline, renderer, ledger, run, provider, wired, broker)
            gauges = await wired.gauges(ledger, run)
            status = StatusFile(status_file(shift.ledger_file), tally, gauges, run.run_id, pipeline.name)
            display = choose(sys.stderr, tally, gauges, pipeline.name, quiet=shift.quiet)
            midnight = asyncio.get_running_loop().call_later(
                _DAY_S - time.time() % _DAY_S, halt.stop, DayEnded("the day has ended")
            )
            with modules_unswept(), status, display, Recorder(tally, gauges):
                await intake.work(connected=connected)
            midnight.cancel()
            display.end(*_verdict(halt.reason))
            await provider.close()
        finally:
            await ledger.close()
    return _Day(run, halt.reason, wired, status, tally, intake.taken)


def _connected(shift: Shift) -> Broker:
    """The broker, connected before anything else: a mistake is said at once. Raises UsageError."""
    address = shift.address
    broker = open_broker(address, shift.queues, lease_s=shift.lease_s, create=shift.create)
    try:
        broker.connect()
    except broker.faults as fault:
        raise UsageError(
            f"the broker at {address.shown} does not answer: {fault_in_words(fault)}",
            hint="is it started, and is this its address?",
        ) from None
    return broker


def _intake(
    shift: Shift,
    pipeline: Pipeline,
    renderer: Renderer,
    ledger: Ledger,
    run: Run,
    provider: Provider,
    wired: Wired,
    broker: Broker,
) -> Intake:
    settings = pipeline.settings
    engine = live.Engine(
        ledger=ledger,
        run=replace(run, resumes=(), before=None),  # a row's number says nothing from one life to the next
        renderer=renderer,
        judge=Judge(pipeline.schema, pipeline.check, quality.floor_of(pipeline, quality.ready(pipeline, renderer))),
        provider=provider,
        observer=wired.tally,
        halt=wired.halt,
        max_attempts=settings.limits.max_attempts,
        id_column=settings.input.id,
        rehearsal=wired.rehearsal,
    )
    results = Results(pipeline.schema, settings.output.prefix, pipeline.version, _largest(shift, broker))
    rules = Rules(shift.queues, settings.input, shift.max_deliveries, shift.idle_s, shift.limit)
    intake = Intake(engine, broker, results, rules, wired.tally)
    intake.slots = lambda: wired.limits().concurrency
    wired.heard.append(intake.paid)
    if shift.replies is None:
        intake.files = Files(shift.output_folder, roll_bytes=shift.roll_bytes, roll_s=shift.roll_s)
        intake.files.close_left()
    return intake


def _largest(shift: Shift, broker: Broker) -> int | None:
    return broker.largest if shift.replies is not None else None


def _start(shift: Shift, pipeline: Pipeline) -> ledgers.RunStart:
    """A worker's runs of one day and queue go on with each other, so that the day's budget holds for all of them."""
    queue = f"{shift.address.shown} {shift.queues.rows}"
    day = time.strftime("%Y-%m-%d", time.gmtime())
    return run_start(pipeline, input=queue, fingerprint=f"queue:{day}:{queue}", total=0)


def _verdict(reason: Stop | StorageError | None) -> tuple[str, Exit]:
    if isinstance(reason, StorageError):
        return "storage_failed", Exit.STORAGE
    if reason is None or isinstance(reason, Interrupted):
        return Drained.status, Exit.OK
    return reason.status, reason.exit_code


def _finish(shift: Shift, pipeline: Pipeline, day: _Day) -> int:
    """Write the run's reports; returns the exit status."""
    status, code = _verdict(day.reason)
    files = {"report": str(shift.output_folder / f"report-{day.run.run_id}.json"), "ledger": str(shift.ledger_file)}
    if shift.replies is None:
        files["results"] = str(shift.output_folder / "results-*.jsonl")
    con = ledgers.connect(shift.ledger_file)
    try:
        report = reports.build(day.tally, _facts(shift, pipeline, day, status, code, files))
        text = orjson.dumps(reports.to_json(report), option=orjson.OPT_INDENT_2).decode()
        write_text(Path(files["report"]), text)
        write_text(shift.output_folder / f"report-{day.run.run_id}.html", reports.html(report))
        ledgers.end(con, day.run, ended_at=time.time(), status=status, exit_code=code, report=text)
    finally:
        con.close()
    day.status.end(status, code)
    if shift.json:
        typer.echo(escaped(text))
    elif not shift.quiet and event_log() is None:
        typer.echo(reports.text(report, width=screen.width(), color=screen.colored()))
    if day.reason is not None and code is not Exit.OK:
        complain(day.reason.message, day.reason.hint or "messages without a result are in the queue", code)
    return code


def _facts(
    shift: Shift, pipeline: Pipeline, day: _Day, status: str, code: Exit, files: dict[str, str]
) -> reports.RunFacts:
    settings, wired = pipeline.settings, day.wired
    return reports.RunFacts(
        run_id=day.run.run_id,
        pipeline=pipeline.name,
        prompt_version=pipeline.version,
        status=status,
        exit_code=code,
        started_at=day.run.started_at,
        ended_at=time.time(),
        price_source=wired.prices.source(),
        label=settings.label,
        model=settings.request.asked,
        input=(f"{shift.address.shown} {shift.queues.rows}",),
        command=command(),
        concurrency_final=wired.limits().concurrency,
        limit_changes=wired.limit_changes(),
        budget_usd=settings.limits.budget_usd,
        structured_output=wired.structured_output,
        files=files,
        notes=() if day.reason is None else (day.reason.message,),
    )
