"""Quality in a run: graders made ready, replies and rows watched, the night held against those before."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import duckdb
import orjson

from llmbatch import ledger as ledgers
from llmbatch import providers
from llmbatch.errors import PipelineError
from llmbatch.grade import (
    Canary,
    Gathered,
    Grader,
    Past,
    Quality,
    Rates,
    Signature,
    closed_lists,
    compare,
    graders,
    place,
)
from llmbatch.ledger import Run
from llmbatch.passing import Passing
from llmbatch.pipeline import Pipeline, nearest
from llmbatch.report import RungScore
from llmbatch.settings import ASKING
from llmbatch.tally import Tally
from llmbatch.types import Json, Reply, Row, Status, Verdict
from llmbatch.validate import Floor, output_fields

if TYPE_CHECKING:
    from llmbatch.render import Renderer
    from llmbatch.sink import Answer

_LOOK_BACK = 4  #: times as many runs are read as are compared with, because some have too few new rows
_WITHOUT_REPLY = frozenset({Status.SKIPPED, Status.PENDING})


def ready(pipeline: Pipeline, renderer: Renderer) -> dict[str, Grader]:
    """The pipeline's graders.

    Raises PipelineError when one names a field that outputs do not have, or the prompt would show the model what is
    right.
    """
    fields = output_fields(pipeline.schema)
    where = pipeline.folder / "pipeline.toml"
    for name, told in pipeline.settings.quality.graders.items():
        if told.field is not None and told.field not in fields:
            near = nearest(told.field, fields)
            hint = f"did you mean {near!r}?" if near else f"the schema has {', '.join(fields)}"
            raise PipelineError(f"{where}: grader {name!r}: outputs have no field {told.field!r}", hint=hint)
        if told.gold is not None and told.gold in renderer.variables():
            raise PipelineError(
                f"{pipeline.folder / 'prompt.j2'} shows {told.gold!r}, which grader {name!r} compares answers with",
                hint="take it out of the prompt, or the grader measures copying",
            )
    return graders(pipeline.settings.quality.graders, pipeline.grade)


def floor_of(pipeline: Pipeline, ready: Mapping[str, Grader]) -> Floor | None:
    """Says why an output is graded too low to stop at its model; None where no grader has ``climb_below``."""
    told = pipeline.settings.quality.graders
    floors = {name: below for name, one in told.items() if (below := one.climb_below) is not None}
    if not floors or not pipeline.settings.request.ladder:
        return None

    def low(output: dict[str, Json], columns: dict[str, Json]) -> str | None:
        for name, below in floors.items():
            score = ready[name].grade(output, columns)
            # a fault of hooks.py is no reason to ask a dearer model
            if score is not None and score.value < below and not score.details.get("faults"):
                return f"{name} {score.value:.3g} is below {below:.3g}"
        return None

    return low


def gatherer(pipeline: Pipeline, ready: dict[str, Grader]) -> Gathered:
    """What gathers the run's profile."""
    ladder = pipeline.settings.request.ladder
    return Gathered(ready, pipeline.settings.quality, closed_lists(pipeline.schema), ladder=ladder)


def without_gold(rows: Iterator[Row], pipeline: Pipeline) -> Iterator[Row]:
    """The rows as prompt and check see them: what is right is not in them, so it cannot reach the model."""
    gold = {told.gold for told in pipeline.settings.quality.graders.values() if told.gold is not None}
    if not gold:
        yield from rows
        return
    for row in rows:
        yield replace(row, columns={name: value for name, value in row.columns.items() if name not in gold})


@dataclass(slots=True)
class Watching(Passing):
    """The run's observer: the tally, and the profile beside it."""

    gathered: Gathered

    def judged(self, reply: Reply, verdict: Verdict) -> None:
        """Tell both."""
        self.inner.judged(reply, verdict)
        self.gathered.judged(reply, verdict)


def rates(pipeline: Pipeline, tally: Tally, run: Run) -> Rates:
    """Which part of the rows is graded. Of a night that was broken, any row may be a newly answered one."""
    settled = sum(tally.rows[status] for status in (Status.DONE, Status.REUSED, Status.FAILED))
    fresh = settled if run.resumes else settled - tally.rows[Status.REUSED]
    return Rates.of(settled, fresh, pipeline.settings.quality.rows)


def graded(pairs: Iterator[tuple[Row, Answer]], gathered: Gathered, rates: Rates) -> Iterator[tuple[Row, Answer]]:
    """The rows on their way to the results, graded as they pass."""
    for row, answer in pairs:
        if answer.status not in _WITHOUT_REPLY:
            where = place(answer.key, row.row_no)
            gathered.take(row.columns, answer.output, where, asked=answer.asked, rates=rates, rung=answer.rung)
            if answer.asked:
                gathered.priced(answer.cost_usd)
        yield row, answer


def by_rung(gathered: Gathered) -> dict[str, dict[str, RungScore]]:
    """What the graders say of the rows that ended at each model of the ladder."""
    found: dict[str, dict[str, RungScore]] = {}
    for (rung, name), scores in sorted(gathered.by_rung.items()):
        seen = scores.graded()
        if seen.mean is not None:
            score = RungScore(seen.rows, seen.mean, seen.interval.low, seen.interval.high)
            found.setdefault(gathered.ladder[rung], {})[name] = score
    return found


def conclude(
    pipeline: Pipeline,
    gathered: Gathered,
    con: duckdb.DuckDBPyConnection,
    run: Run,
    rates: Rates,
    canary: Canary | None,
    *,
    whole: bool,
) -> Quality:
    """What is known of the run's quality; compared with the nights before when it reached the whole input."""
    settings = pipeline.settings
    signature = Signature(
        prompt_version=pipeline.version,
        model=settings.request.asked,
        provider=providers.address(settings) or "default" if settings.provider.kind == "openai" else "offline",
    )
    profile = gathered.profile()
    drift = None
    if whole and settings.quality.on_drift != "off":
        drift = compare(
            Past(run.run_id, profile, signature, canary),
            list(_history(con, run, settings.quality.trailing * _LOOK_BACK)),
            trailing=settings.quality.trailing,
            min_change=settings.quality.min_change,
        )
    unasked = tuple(name for name, told in settings.quality.graders.items() if told.kind in ASKING)
    return Quality(gathered.graded(), rates.whole, profile, signature, drift, canary, unasked)


def faults(pipeline: Pipeline, found: Quality) -> tuple[str, ...]:
    """Why the quality gate fails; empty when it holds."""
    low = [f"grader {graded.name} is below its floor of {graded.floor:.1%}" for graded in found.below_floor]
    if pipeline.settings.quality.on_drift == "fail" and found.drift is not None:
        low += [f"{move.what} is not as it was on the nights before" for move in found.drift.alarming]
    return tuple(low)


def _history(con: duckdb.DuckDBPyConnection, run: Run, most: int) -> Iterator[Past]:
    """Earlier nights that reached every row and have a profile, newest first."""
    from pydantic import TypeAdapter, ValidationError

    adapter = TypeAdapter(Quality)
    for run_id, report in ledgers.reports_before(con, run, most):
        facts = orjson.loads(report)
        kept = facts.get("quality") if facts.get("status") in ledgers.FINISHED else None
        try:
            quality = adapter.validate_python(kept) if kept else None
        except ValidationError:  # of another release
            continue
        if quality is not None:
            yield Past(run_id, quality.profile, quality.signature, quality.canary)
