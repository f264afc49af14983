"""One run from its checks to its report: prepare, answer every row, write the results.

The order matters: everything a person can get wrong is checked before the ledger is touched, and the ledger is open
before anything is sent.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice

import uvloop

from llmbatch import ledger as ledgers
from llmbatch.cli import canary, crew, deadline, ending, quality, schedules, tiers
from llmbatch.cli.crew import Crew
from llmbatch.cli.descriptors import make_room
from llmbatch.cli.make import usable
from llmbatch.cli.order import Order
from llmbatch.cli.outside import Outside
from llmbatch.cli.places import refuse_paths, status_file
from llmbatch.cli.publishing import refuse_partitions
from llmbatch.cli.signals import Signals
from llmbatch.cli.wiring import Wired, run_start, wire
from llmbatch.engines import live
from llmbatch.errors import InputError
from llmbatch.grade import Gathered
from llmbatch.halt import Halt, Part
from llmbatch.ledger import Ledger, Lock, Run
from llmbatch.pipeline import Pipeline
from llmbatch.progress import Recorder, StatusFile
from llmbatch.render import Renderer
from llmbatch.sink import Target, added_columns, check_store, check_target
from llmbatch.source import Source, Survey, check_row, open_source, survey
from llmbatch.tally import Tally
from llmbatch.types import Provider, Row
from llmbatch.validate import Judge

#: How long the event loop may keep the interpreter from the ledger's thread. At Python's 5 ms a commit takes 70 ms
#: beside a busy loop, and replies are durable too late; at 0.3 ms it takes 20.
SWITCH_S = 0.0003


@dataclass(frozen=True, slots=True)
class Night:
    """A run whose checks have passed."""

    order: Order
    pipeline: Pipeline
    renderer: Renderer
    judge: Judge
    source: Source
    survey: Survey
    total: int  #: rows of this run: the input's, or fewer under --limit
    target: Target
    tally: Tally
    outside: Outside
    gathered: Gathered
    gold: tuple[Row, ...]  #: asked before all others
    only: frozenset[int] | None = None  #: rows that are asked for, by number; the others are passed over
    crew: Crew | None = None  #: makes the calls under --engine ray
    mark: str = ""  #: before the input's fingerprint, of a run that is no night
    given: tuple[Row, ...] | None = None  #: asked for in place of the input's rows

    @property
    def floor(self) -> float:
        """The share of gold rows that must be answered as they should be."""
        return self.pipeline.settings.quality.floor or 0.0

    def rows(self) -> Iterator[Row]:
        """The rows of this run, in order; those that break a rule carry their problem."""
        if self.given is not None:
            yield from self.given
            return
        settings = self.pipeline.settings.input
        for row in islice(self.source.rows(skip_bad=self.order.skip_bad_rows), self.total):
            if self.only is not None and row.row_no not in self.only:
                continue
            problem = check_row(row, settings)
            yield row if problem is None else replace(row, problem=problem)


def run_night(order: Order) -> int:
    """Carry an order out; returns the exit status."""
    refuse_paths(order)
    with Outside(order) as outside, Signals() as signals:
        pipeline, renderer = usable(order.pipeline, order.overrides, prices=order.prices)
        outside.knows(pipeline.settings.provider.api_key_env)
        tiers.refuse(order, pipeline)
        crew.refuse(order, pipeline)
        if pipeline.settings.provider.kind != "offline":
            settings = pipeline.settings
            make_room(settings.ray.in_flight if order.engine == "ray" else settings.limits.concurrency)
        folder = order.ledger_file.parent
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with Lock(order.ledger_file, wait_s=order.wait_s), open_source(order.inputs, folder) as source:
            night = checked(order, pipeline, renderer, source, outside)
            with crew.hired(order, pipeline) as hired:
                answered = uvloop.run(answer(replace(night, crew=hired), signals))
            signals.results_follow()
            return ending.finish(night, answered)


def checked(order: Order, pipeline: Pipeline, renderer: Renderer, source: Source, outside: Outside) -> Night:
    """Read the whole input once, and find out whether its results can be written. Raises UserError."""
    settings, prefix = pipeline.settings, pipeline.settings.output.prefix
    gathered = quality.gatherer(pipeline, quality.ready(pipeline, renderer))
    taken = added_columns(pipeline.schema, prefix)
    if order.store is not None:
        check_store(order.store)
    surveyed = survey(source, settings.input, taken=taken, skip_bad=order.skip_bad_rows)
    target = Target(
        folder=order.output_folder,
        format=order.format or source.kind,
        kind=source.kind,
        files=tuple(file.path for file in source.files),
        columns=surveyed.columns,
        schema=pipeline.schema,
        prefix=prefix,
        prompt_version=pipeline.version,
        id_column=settings.input.id,
    )
    check_target(target)
    refuse_partitions(order, target)
    night = Night(
        order=order,
        pipeline=pipeline,
        renderer=renderer,
        judge=Judge(pipeline.schema, pipeline.check, quality.floor_of(pipeline, gathered.graders)),
        source=source,
        survey=surveyed,
        total=min(surveyed.total, order.limit or surveyed.total),
        target=target,
        tally=Tally(),
        outside=outside,
        gathered=gathered,
        gold=canary.gold_rows(pipeline),
    )
    night.tally.planned(night.total)
    return night


async def answer(night: Night, signals: Signals) -> ending.Answered:
    """Bring every row to an outcome, or stop early; whatever happens, what was paid for is stored."""
    order, halt = night.order, Halt()
    sys.setswitchinterval(SWITCH_S)
    part = Part(halt) if night.pipeline.settings.limits.tier == "auto" else halt
    wired = wire(night.pipeline, night.tally, part, night.tally.noted if order.verbose else None, night.crew)
    with signals.stopping(halt, night.tally.noted) as cuts:
        ledger = await Ledger.open(order.ledger_file)
        try:
            run = await ledger.ask(lambda con: ledgers.begin(con, _start(night)))
            provider, timed = await wired.wrapped(ledger, run)
            cuts.append(timed.cut)
            engine = _engine(night, ledger, run, provider, wired)
            due = deadline.due(order, await schedules.due_before(ledger, run))
            gauges = await wired.gauges(ledger, run)
            display = night.outside.display(night, run, wired, gauges)
            status_path = status_file(order.ledger_file)
            status = StatusFile(status_path, night.tally, gauges, run.run_id, night.pipeline.name)
            with (
                modules_unswept(),
                status,
                display,
                Recorder(night.tally, gauges),
                night.outside.watching(night, run, wired, gauges),
                deadline.keeping(due, night.tally, halt, timed.cut),
            ):
                found, led = await canary.ask(night, engine), None
                if not halt:
                    led = await tiers.answer(night, engine, wired, lambda: _while_readable(night, halt), cuts, due)
            await provider.close()
        finally:
            await ledger.close()
    return ending.Answered(run, halt.reason, wired, display, status, found, led)


def _engine(night: Night, ledger: Ledger, run: Run, provider: Provider, wired: Wired) -> live.Engine:
    return live.Engine(
        ledger=ledger,
        run=run,
        renderer=night.renderer,
        judge=night.judge,
        provider=provider,
        observer=quality.Watching(night.tally, night.gathered),
        halt=wired.halt,
        max_attempts=night.pipeline.settings.limits.max_attempts,
        id_column=night.pipeline.settings.input.id,
        retry_failed=night.order.retry_classes,
        tail=wired.tail,
        rehearsal=wired.rehearsal,
        open_rows=max(live.OPEN_ROWS, night.crew.open_rows if night.crew is not None else 0),
    )


@contextmanager
def modules_unswept() -> Iterator[None]:
    """Keep the garbage collector from the 100,000 objects of the modules.

    Looking through them stops every thread, the ledger's too, for 60 ms, and replies are durable too late. So does a
    look through some thousand open rows, which hold no cycles that live long: it is made far less often.
    """
    before = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(50_000, 10, 50)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


def _while_readable(night: Night, halt: Halt) -> Iterator[Row]:
    """The run's rows. The survey could read the input, so when it cannot be read any more it has changed."""
    try:
        yield from quality.without_gold(night.rows(), night.pipeline)
    except InputError as error:
        halt.stop(ending.changed(error))


def _start(night: Night) -> ledgers.RunStart:
    return run_start(
        night.pipeline,
        input=" ".join(night.order.shown_inputs),
        fingerprint=f"{night.mark}{night.survey.fingerprint}:{night.total}",
        total=len(night.only) if night.mark and night.only is not None else night.total,
    )
