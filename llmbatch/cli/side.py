"""A run beside a run: a grader asks a model of its own, by the same way as rows are asked, into the same ledger."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import cached_property
from pathlib import Path

import duckdb
import uvloop

from llmbatch import ledger as ledgers
from llmbatch import report as reports
from llmbatch.cli import beside, ending, quality
from llmbatch.cli.descriptors import make_room
from llmbatch.cli.foresight import foresee, planned_of
from llmbatch.cli.night import Night, answer
from llmbatch.cli.order import Order
from llmbatch.cli.outside import Outside
from llmbatch.cli.signals import Signals
from llmbatch.cli.spending import WorstCase, refuse_unbounded
from llmbatch.cli.wiring import is_rehearsal, prices_of
from llmbatch.engines import preview
from llmbatch.errors import Exit, UsageError
from llmbatch.grade import Graded, Quality, Signature
from llmbatch.ledger import Known, known
from llmbatch.pipeline import Pipeline
from llmbatch.render import Renderer, RenderError
from llmbatch.settings import EmbeddingSettings, JudgeSettings, RequestSettings, Settings
from llmbatch.sink import Target
from llmbatch.source import Source, Survey
from llmbatch.tally import Tally
from llmbatch.types import Json, Row
from llmbatch.validate import Judge

STATUS = "graded"  #: of such a run, in `llmbatch runs`


@dataclass(frozen=True)
class Side:
    """What a grader asks: its model as a pipeline, and the rows made for it. Two numbers stand for each row graded."""

    grader: str
    run_id: str  #: of the run that is graded
    pipeline: Pipeline
    rows: tuple[Row, ...]

    @cached_property
    def renderer(self) -> Renderer:
        """Makes requests of the rows."""
        return Renderer(self.pipeline)

    @cached_property
    def judge(self) -> Judge:
        """Tells valid replies."""
        return Judge(self.pipeline.schema, None)

    def within(self, budget: Decimal | None) -> Side:
        """The same under a budget, if there is one."""
        return replace(self, pipeline=beside.within(self.pipeline, budget))


@dataclass(frozen=True, slots=True)
class Said:
    """What the ledger has for one of the rows."""

    output: Mapping[str, Json] | None  #: None: no valid answer
    failure: str | None = None  #: then, why


@dataclass(frozen=True, slots=True)
class Look:
    """What asking would take."""

    side: Side
    to_ask: int  #: rows that the ledger has no answer for
    planned: reports.Planned | None  #: of those; None when there are none


def settings_of(pipeline: Pipeline, told: JudgeSettings | EmbeddingSettings, system: str | None) -> Settings:
    """The grader's own model as a pipeline's settings. Raises UsageError for one that cannot be asked."""
    whole = pipeline.settings
    provider = told.provider if "provider" in told.model_fields_set else whole.provider
    if isinstance(told, EmbeddingSettings) and provider.kind == "openai":
        provider = provider.model_copy(update={"kind": "embeddings"})
    if provider.kind == "offline":
        table = "judge" if isinstance(told, JudgeSettings) else "embeddings"
        raise UsageError(
            f"[quality.{table}] would be asked of the offline provider, which only picks words",
            hint=f'add [quality.{table}.provider] with kind = "openai", and base_url if it is not OpenAI',
        )
    return Settings(
        request=RequestSettings(model=told.model, system=system, params=told.params),
        provider=provider,
        limits=told.limits,
        budget=whole.budget,
        prices=whole.prices,
    )


def look(con: duckdb.DuckDBPyConnection, side: Side) -> Look:
    """What of the rows is stored, and what asking the others will probably take."""
    pipeline, prices = side.pipeline, prices_of(side.pipeline)
    rehearsal = is_rehearsal(pipeline)
    foresight = foresee(con, pipeline, prices, WorstCase(pipeline, prices), rehearsal=rehearsal)
    looking = preview.Preview(
        side.renderer, side.judge, pipeline.settings.limits.max_attempts, None, rehearsal=rehearsal
    )
    asked: set[str] = set()
    for seen in (seen for chunk in looking.look(con, side.rows) for seen in chunk):
        if seen.kind in (preview.NEW, preview.REASKED) and seen.request and seen.request.key not in asked:
            asked.add(seen.request.key)
            foresight.sizes.add(seen.request)
    return Look(side, len(asked), planned_of([foresight]))


def said(con: duckdb.DuckDBPyConnection, side: Side) -> dict[int, Said]:
    """The first valid answer to each row, by row_no; else why there is none. Rows never asked are absent."""
    keys: dict[int, str] = {}
    for row in side.rows:
        try:
            keys[row.row_no] = side.renderer.request(row).key
        except RenderError:
            continue
    stored = known(con, set(keys.values()), simulated=is_rehearsal(side.pipeline))
    by_no = {row.row_no: row for row in side.rows}
    found = {no: _said(side.judge, by_no[no], stored[key]) for no, key in keys.items() if key in stored}
    return {**{no: Said(None, "render") for no in by_no if no not in keys}, **found}


def _said(judge: Judge, row: Row, past: Known) -> Said:
    failure = past.rejection.failure if past.rejection else None
    for reply in past.replies:
        verdict = judge.judge(row, reply)
        if verdict.valid:
            return Said(verdict.output)
        failure = verdict.failure
    return Said(None, failure)


def refuse(sides: Sequence[Side]) -> None:
    """Raise UsageError, before anything is sent, for a budget that cannot be kept."""
    for side in sides:
        prices = prices_of(side.pipeline)
        refuse_unbounded(side.pipeline.settings, WorstCase(side.pipeline, prices), prices)


def ask(order: Order, source: Source, fingerprint: str, side: Side) -> Asking:
    """Ask the rows that the ledger has no answer for; what is stored serves. Raises beside.Stopped when it stops early.

    ``fingerprint`` is that of the source.
    """
    make_room(side.pipeline.settings.limits.concurrency)
    night = _night(order, source, fingerprint, side)
    with Signals() as signals:
        answered = uvloop.run(answer(night, signals))
    if (reason := answered.reason) is not None:
        with closing(ledgers.connect(order.ledger_file)) as con:
            report = beside.end(con, night, answered, STATUS)
        beside.stop(f"grader {side.grader} stopped asking: {reason.message}", reason.hint, Exit(report.exit_code))
    return Asking(night, answered)


@dataclass(frozen=True, slots=True)
class Asking:
    """Rows that were asked; the run has no end in the ledger yet."""

    night: Night
    answered: ending.Answered

    def end(self, con: duckdb.DuckDBPyConnection, graded: Graded) -> None:
        """Enter how it ended, with what came of it."""
        night = self.night
        found = Quality((graded,), 1.0, night.gathered.profile(), Signature(night.pipeline.version, "", ""), None)
        beside.end(con, night, self.answered, STATUS, found)

    def with_bill(self, graded: Graded) -> Graded:
        """The grades with what asking cost in this command."""
        if graded.judged is None:
            return graded
        cost = None if self.dollars is None else float(self.dollars)
        return replace(graded, judged=replace(graded.judged, calls=self.calls, cost_usd=cost))

    @property
    def calls(self) -> int:
        """Calls that were answered."""
        return sum(model.attempts for model in self.night.tally.by_model.values())

    @property
    def dollars(self) -> Decimal | None:
        """Of them; None when a price is unknown."""
        return None if self.night.tally.unpriced else self.night.tally.cost_usd


def _night(order: Order, source: Source, fingerprint: str, side: Side) -> Night:
    pipeline = side.pipeline
    tally = Tally()
    tally.planned(len(side.rows))
    return Night(
        order=order,
        pipeline=pipeline,
        renderer=side.renderer,
        judge=side.judge,
        source=source,
        survey=Survey(len(side.rows), 0, 0, fingerprint, {}, source.stamp()),
        total=len(side.rows),
        target=Target(Path(), "jsonl", "jsonl", (), {}, pipeline.schema, "", pipeline.version),  # nothing is written
        tally=tally,
        outside=Outside(order),
        gathered=quality.gatherer(pipeline, {}),
        gold=(),
        mark=f"{ledgers.JUDGED}{side.run_id}:{side.grader}:",
        given=side.rows,
    )


def rows_of(asks: Iterator[tuple[int, dict[str, Json]]]) -> tuple[Row, ...]:
    """Rows for a grader's model, of (twice the graded row's number, and perhaps one; what its template may name)."""
    return tuple(Row(row_no, columns, "(graded row)", row_no // 2) for row_no, columns in asks)
