"""A stored run graded: by what asks nobody, then by judges, whose cost is told before anything is spent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb

from llmbatch import ledger as ledgers
from llmbatch.cli import beside, graded, judges, quality, side, similar
from llmbatch.cli.make import usable
from llmbatch.cli.order import Order
from llmbatch.cli.reading import reading
from llmbatch.errors import PipelineError, UsageError
from llmbatch.grade import Graded
from llmbatch.ledger import Begun, Lock
from llmbatch.pipeline import Pipeline
from llmbatch.source import open_source

_MOST = 20_000  #: rows whose questions are held in memory


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a person asks of `llmbatch grade`, beside the order that a run takes."""

    run: str = ""
    sample: int | None = None
    seed: int = 0
    gold: str | None = None
    labels: str | None = None
    against: str | None = None
    ask: bool = False
    budget: Decimal | None = None
    page: bool = False  #: with the run's report, so that it must have one


@dataclass(frozen=True, slots=True)
class Grades:
    """What was found."""

    run_id: str
    pipeline: Pipeline
    graders: tuple[Graded, ...]
    looks: tuple[side.Look, ...]  #: of the graders that ask a model: what asking would take, or would have taken
    notes: tuple[str, ...] = ()

    @property
    def unasked(self) -> tuple[side.Look, ...]:
        """Those that have no grades yet, because rows are not asked."""
        known = {one.name for one in self.graders}
        return tuple(look for look in self.looks if look.side.grader not in known)


def grade(order: Order, wanted: Wanted) -> Grades:
    """Grade a run. Raises UserError, and beside.Stopped when a judge stops early."""
    pipeline, renderer = usable(order.pipeline, order.overrides, prices=order.prices)
    if not pipeline.settings.quality.graders:
        raise PipelineError(f"{pipeline.folder / 'pipeline.toml'} names no graders", hint="see docs/quality.md")
    graders = quality.ready(pipeline, renderer)
    with ExitStack() as stack:
        if wanted.ask:
            stack.enter_context(Lock(order.ledger_file, wait_s=order.wait_s))
        with reading(order.ledger_file) as con:
            found = _begun(con, wanted.run, order.pipeline)
            if wanted.page:
                report_of(con, found.run.run_id)
            against = None if wanted.against is None else _begun(con, wanted.against, order.pipeline)
        spool = Path(stack.enter_context(TemporaryDirectory()))
        source = stack.enter_context(open_source(order.inputs or graded.inputs_of(found), spool))
        gold = graded.by_id(pipeline, wanted.gold, "--gold") if wanted.gold else None
        stored = graded.Stored(pipeline, found, source, graded.checked(source, found), gold, wanted.seed)
        labels = judges.labels_of(pipeline, wanted.labels)
        with reading(order.ledger_file) as con:
            plain = graded.grade(con, stored, graders, wanted.sample)
            cases = _cases(con, stored, wanted, labels, against)
            looks = tuple(side.look(con, case.side) for case in cases)
        judges.refuse_unlabelled(cases, wanted.labels)
        told = tuple(_asked(replace(order, inputs=found.inputs), stored, wanted, cases, looks))
    return Grades(found.run.run_id, pipeline, (*plain, *told), looks, tuple(_notes(cases)))


def report_of(con: duckdb.DuckDBPyConnection, run_id: str) -> dict[str, Any]:
    """The run's report, to show its grades in. Raises UsageError when it has none with grades."""
    facts: dict[str, Any] | None = next(night["report"] for night in ledgers.history(con) if night["run_id"] == run_id)
    if facts is None or facts.get("quality") is None:
        raise UsageError(f"run {run_id} died and has no report to show grades in", hint="grade it without --html")
    return facts


def _begun(con: duckdb.DuckDBPyConnection, run: str, pipeline: Path) -> Begun:
    found = ledgers.begun(con, run)
    if found is None:
        raise UsageError(f"no run {run} of {pipeline}".replace("  ", " "), hint="see `llmbatch runs`")
    return found


def _cases(
    con: duckdb.DuckDBPyConnection,
    stored: graded.Stored,
    wanted: Wanted,
    labels: Mapping[str, Mapping[str, dict[str, object]]],
    against: Begun | None,
) -> list[judges.Case]:
    told, rows = stored.pipeline.settings.quality, {}
    for name, grader in told.graders.items():
        asked = {"judge": told.judge, "similarity": told.embeddings}.get(grader.kind)
        if asked is not None:
            rows[name] = wanted.sample or asked.rows
    if rows and max(rows.values()) > _MOST:
        raise UsageError(
            f"--sample {wanted.sample:,} is more than the {_MOST:,} rows that a grader may ask its model about"
        )
    return [
        similar.case(con, stored, name, population)
        if told.graders[name].kind == "similarity"
        else judges.case(con, stored, name, population, labels.get(name, {}), against)
        for name, population in graded.populations(con, stored, rows, labels).items()
    ]


def _asked(
    order: Order,
    stored: graded.Stored,
    wanted: Wanted,
    cases: Sequence[judges.Case],
    looks: Sequence[side.Look],
) -> list[Graded]:
    """Of each case its grades: of stored answers, or of those asked for now. All within one budget."""
    if not wanted.ask:
        ready = [case for case, look in zip(cases, looks, strict=True) if not look.to_ask]
        with reading(order.ledger_file) as con:
            return [case.graded(side.said(con, case.side)) for case in ready]
    side.refuse([case.side.within(wanted.budget) for case in cases])
    left, found = wanted.budget, []
    for case in cases:
        asking = side.ask(order, stored.source, stored.found.fingerprint, case.side.within(left))
        with closing(ledgers.connect(order.ledger_file)) as con:
            grades = asking.with_bill(case.graded(side.said(con, case.side)))
            asking.end(con, grades)
            left = None if left is None else max(Decimal(0), left - beside.charged(con, asking.answered))
        found.append(grades)
    return found


def _notes(cases: Sequence[judges.Case]) -> list[str]:
    notes = []
    for case in cases:
        if case.stale:
            notes.append(f"{case.name}: {case.stale:,} labels are of other answers, and were passed over")
        if case.same_model:
            model = case.side.pipeline.settings.request.model
            notes.append(f"{case.name}: {model} judges its own answers; models prefer their own (docs/quality.md)")
    return notes
