"""A plan from its checks to its words: survey the input, look every row up, count; with a probe, ask some first."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb
import orjson
import typer
import uvloop

from llmbatch import ledger as ledgers
from llmbatch import planning
from llmbatch import report as reports
from llmbatch.cli import ending, tiers
from llmbatch.cli.gate import complain, dumped, shown
from llmbatch.cli.make import usable
from llmbatch.cli.night import Night, answer, checked
from llmbatch.cli.order import Order
from llmbatch.cli.outline import outline
from llmbatch.cli.outside import Outside
from llmbatch.cli.signals import Signals
from llmbatch.cli.spending import WorstCase, caps_of, has_caps, refuse_unbounded
from llmbatch.cli.view import View
from llmbatch.cli.wiring import is_rehearsal, prices_of
from llmbatch.engines import preview
from llmbatch.errors import Exit
from llmbatch.ledger import Lock, Run, Sighted, Sighting
from llmbatch.pipeline import Pipeline
from llmbatch.planning.model import Amount, Rows, TierCost
from llmbatch.prices import PriceTable
from llmbatch.source import open_source, row_id
from llmbatch.tally import Tally

_TIERS = ("standard", "flex", "batch")
_ASKED = (preview.NEW, preview.REASKED)


def look_ahead(order: Order, probe: int | None) -> int:
    """Carry out `llmbatch plan`; returns the exit status."""
    outside = Outside(order)
    with Signals() as signals, ExitStack() as stack:
        pipeline, renderer = usable(order.pipeline, order.overrides, prices=order.prices)
        tiers.refuse(order, pipeline)
        prices = prices_of(pipeline)
        worst_case = WorstCase(pipeline, prices)
        refuse_unbounded(pipeline.settings, worst_case, prices)
        spool = Path(
            stack.enter_context(TemporaryDirectory())
        )  # for standard input: a plan writes nothing beside the ledger
        if probe is not None or order.ledger_file.exists():
            order.ledger_file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            stack.enter_context(Lock(order.ledger_file, wait_s=order.wait_s))
        source = stack.enter_context(open_source(order.inputs, spool))
        outlook = Outlook(checked(order, pipeline, renderer, source, outside), prices, worst_case, spool, probe or 0)
        plan = outlook.plan()
        code = Exit.OK
        if outlook.drawn:
            code = _probe(outlook, signals)
            if code not in (Exit.OK, Exit.TOO_MANY_FAILED):
                return code
            plan = replace(Outlook(outlook.night, prices, worst_case, spool).plan(), probed=len(outlook.drawn))
    typer.echo(dumped(planning.to_json(plan)) if order.json else shown(planning.text(plan)), nl=order.json)
    return code


@dataclass(slots=True)
class Outlook:
    """One look over all rows."""

    night: Night
    prices: PriceTable
    worst_case: WorstCase
    spill: Path  #: a folder for what memory does not hold
    probe: int = 0  #: new rows to draw at random
    drawn: list[int] = field(default_factory=list)  #: their numbers

    def plan(self) -> planning.Plan:
        """Look every row up, and work out what asking the rest will take."""
        with self._ledger() as con:
            return self._of(con)

    @contextmanager
    def _ledger(self) -> Iterator[duckdb.DuckDBPyConnection]:
        path = self.night.order.ledger_file
        with closing(ledgers.connect(path) if path.exists() else ledgers.scratch(self.spill)) as con:
            yield con

    def _of(self, con: duckdb.DuckDBPyConnection) -> planning.Plan:
        pipeline = self.night.pipeline
        view = View(con, pipeline, self.prices, self.worst_case, rehearsal=is_rehearsal(pipeline))
        rows, run = self._look(con, view)
        batch = pipeline.settings.limits.tier == "batch"
        tier = "batch" if batch else self.worst_case.tier or "standard"
        costs, ladder = view.costs(tier, rows.asked)
        live = view.foresight.time(costs)
        return planning.Plan(
            pipeline=pipeline.name,
            prompt_version=pipeline.version,
            model=pipeline.settings.request.asked,
            tier=tier,
            rows=rows,
            calls=costs.calls,
            input_tokens=costs.input_tokens,
            output_tokens=costs.output_tokens,
            cached_tokens=costs.cached_tokens,
            cost_usd=costs.cost_usd,
            tiers=_tiers(view, rows.asked),
            time=planning.Time(None, "batch") if batch else live,
            basis=view.basis,
            price_source=self.prices.source(),
            budget_usd=self._left(con, run),
            earlier=view.foresight.earlier(),
            ladder=ladder,
            schedule=outline(con, pipeline, self.prices, self.night.order, rows.asked, live.seconds),
        )

    def _look(self, con: duckdb.DuckDBPyConnection, view: View) -> tuple[Rows, Run]:
        """What becomes of each row. Requests to ask are added to ``view``, the twins among them too."""
        night, settings = self.night, self.night.pipeline.settings
        number, resumes, before = ledgers.upcoming(
            con, f"{night.survey.fingerprint}:{night.total}", night.pipeline.version
        )
        look = preview.Preview(
            night.renderer,
            night.judge,
            settings.limits.max_attempts,
            night.order.retry_classes,
            is_rehearsal(night.pipeline),
        )
        run = Run(number, "", 0.0, resumes, before)
        sighting, rng, seen_new = Sighting(con), random.Random(night.survey.fingerprint), 0
        for chunk in look.look(con, night.rows(), run.earlier):
            sighting.add([self._sighted(seen) for seen in chunk])
            for seen in chunk:
                if seen.kind in _ASKED and seen.request is not None:
                    view.add(seen.request, seen.rung)
                if seen.kind == preview.NEW and self.probe:
                    seen_new += 1
                    self._draw(seen.row.row_no, seen_new, rng)
        changes = sighting.changes(before, by_id=settings.input.id is not None) or {}
        return _rows(night.total, sighting.counts(), changes), run

    def _draw(self, row_no: int, seen: int, rng: random.Random) -> None:
        """Keep each new row with the same probability (reservoir sampling)."""
        if len(self.drawn) < self.probe:
            self.drawn.append(row_no)
        elif (at := rng.randrange(seen)) < self.probe:
            self.drawn[at] = row_no

    def _sighted(self, seen: preview.Seen) -> Sighted:
        column = self.night.pipeline.settings.input.id
        name = row_id(seen.row, column) if column is not None and seen.row.problem is None else None
        return Sighted(name, seen.key, seen.kind)

    def _left(self, con: duckdb.DuckDBPyConnection, run: Run) -> float | None:
        settings = self.night.pipeline.settings
        if not has_caps(settings):
            return None
        return max(0.0, float(caps_of(con, settings, run, self.worst_case, time.time).left))


def _rows(total: int, counts: dict[str, tuple[int, int]], changes: dict[str, Any]) -> Rows:
    def rows(kind: str) -> int:
        return counts.get(kind, (0, 0))[0]

    def requests(kind: str) -> int:
        return counts.get(kind, (0, 0))[1]

    return Rows(
        total=total,
        reused=rows(preview.REUSED),
        new=requests(preview.NEW),
        reasked=requests(preview.REASKED),
        twins=sum(rows(kind) - requests(kind) for kind in _ASKED),
        failed=rows(preview.FAILED),
        skipped=rows(preview.SKIPPED),
        too_long=rows(preview.TOO_LONG),
        added=changes.get("new"),
        changed=changes.get("changed"),
        gone=changes.get("gone"),
    )


def _tiers(view: View, rows: int) -> tuple[TierCost, ...]:
    found = ((tier, view.costs(tier, rows)[0].cost_usd) for tier in _TIERS)
    return tuple(TierCost(tier, cost) for tier, cost in found if isinstance(cost, Amount))


def _at_once(pipeline: Pipeline) -> Pipeline:
    """The pipeline with live calls: nobody waits a day for a probe."""
    settings = pipeline.settings
    if settings.limits.tier not in ("batch", "auto"):
        return pipeline
    limits = settings.limits.model_copy(update={"tier": "standard"})
    return replace(pipeline, settings=settings.model_copy(update={"limits": limits}))


def _probe(outlook: Outlook, signals: Signals) -> Exit:
    """Ask the drawn rows as a run does: stored, within the budget. The run that follows goes on with it."""
    night = replace(
        outlook.night, only=frozenset(outlook.drawn), gold=(), tally=Tally(), pipeline=_at_once(outlook.night.pipeline)
    )
    night.tally.planned(len(outlook.drawn))
    answered = uvloop.run(answer(night, signals))
    signals.results_follow()
    with closing(ledgers.connect(night.order.ledger_file)) as con:
        _, code = ending.verdict(night, answered.reason, None)
        report = ending.report_of(night, answered, con, "probe", code, {}, None)
        text = orjson.dumps(reports.to_json(report)).decode()
        ledgers.end(con, answered.run, ended_at=time.time(), status="probe", exit_code=code, report=text)
    answered.status.end("probe")
    answered.display.end("probe", code)
    if answered.reason is not None:
        complain(f"the probe stopped: {answered.reason.message}", answered.reason.hint, code)
    return code
