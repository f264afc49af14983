"""A comparison, from its checks on: every candidate is a run over the same rows, as `run --model` makes it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb
import uvloop

from llmbatch import ledger as ledgers
from llmbatch import report as reports
from llmbatch.candidates import Candidate, Comparison, Cost, Drawing, Goal, Tried, halves, measured, tried, used
from llmbatch.cli import beside, entrants, quality
from llmbatch.cli.decision import decide
from llmbatch.cli.entrants import Entrant
from llmbatch.cli.night import Night, answer, checked
from llmbatch.cli.order import Order
from llmbatch.cli.outside import Outside
from llmbatch.cli.signals import Signals
from llmbatch.cli.wiring import is_rehearsal, prices_of
from llmbatch.engines.ladder import Rules, standing
from llmbatch.errors import Exit, InputError
from llmbatch.grade import Grader, Interval, label_of, text_of
from llmbatch.grade.stats import right_rows_wanted
from llmbatch.ledger import Lock, known
from llmbatch.render import RenderError
from llmbatch.source import open_source
from llmbatch.tally import Tally
from llmbatch.types import Reply, Request, Row
from llmbatch.validate import Judge


@dataclass(frozen=True, slots=True)
class Asked:
    """What a person asks of a comparison, beside the order that a run takes."""

    models: tuple[str, ...]
    prompts: tuple[str, ...]
    sample: int
    seed: int
    goal: Goal
    grader: str | None


@dataclass(frozen=True, slots=True)
class Contest:
    """Candidates, and the rows that they are asked."""

    night: Night  #: of the first candidate
    graders: Mapping[str, Grader]
    deciding: str
    tier: str
    selecting: tuple[int, ...]
    certifying: tuple[int, ...]

    @property
    def rows(self) -> frozenset[int]:
        """All rows that are asked."""
        return frozenset((*self.selecting, *self.certifying))


def compare(order: Order, asked: Asked) -> Comparison:
    """Ask every candidate. Raises UserError before anything is sent, beside.Stopped when a run stops early."""
    tier, found = entrants.enter(order, asked.models, asked.prompts)
    deciding = entrants.deciding(found[0].pipeline, asked.grader)
    entrants.refuse_unpriced(found, tier, asked.goal)
    with Signals(), TemporaryDirectory() as spool:
        order.ledger_file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with Lock(order.ledger_file, wait_s=order.wait_s), open_source(order.inputs, Path(spool)) as source:
            first = found[0]
            night = replace(checked(order, first.pipeline, first.renderer, source, Outside(order)), gold=())
            contest = _contest(night, asked, deciding, tier)
            results = tuple(_asked(contest, found))
    return decide(contest, asked, results)


def _contest(night: Night, asked: Asked, deciding: str, tier: str) -> Contest:
    """Draw the rows. Raises InputError when they are too few."""
    graders = night.gathered.graders
    gold = night.pipeline.settings.quality.graders[deciding].gold
    drawing = Drawing(asked.seed, asked.sample)
    for row in night.rows():
        if row.problem is None and graders[deciding].grade(None, row.columns) is not None:
            drawing.add(row.row_no, _stratum(row, gold))
    drawn = drawing.rows()
    target = asked.goal.min_quality
    wanted = max(2, 2 * right_rows_wanted(target, 0.05) if target is not None else 2)
    if len(drawn) < wanted:
        graded = f"grader {deciding!r} can grade {drawing.seen.total():,} rows of the input"
        why = f"even without a mistake, {target:.1%} is certified by {wanted:,} rows at least" if target else ""
        raise InputError(
            f"{len(drawn):,} rows are too few to compare by: {graded}; {why}".rstrip("; "),
            hint="a larger --sample, more rows with gold, or a lower --min-quality",
        )
    return Contest(night, graders, deciding, tier, *halves(drawn, asked.seed))


def _stratum(row: Row, gold: str | None) -> str:
    """Rows of a kind: by what is right, or by length (in octaves)."""
    if gold is not None:
        return label_of(row.columns.get(gold))[:200]
    return f"{len(text_of(row.columns)).bit_length():02}"


def _asked(contest: Contest, found: Sequence[Entrant]) -> Iterator[tuple[Candidate, tuple[Tried, ...]]]:
    """Ask one after the other, all within one budget."""
    spent = Decimal(0)
    for entrant in found:
        night, pipeline = contest.night, entrant.within(spent)
        graders = quality.ready(pipeline, entrant.renderer)
        mine = replace(
            night,
            pipeline=pipeline,
            renderer=entrant.renderer,
            judge=Judge(pipeline.schema, pipeline.check, quality.floor_of(pipeline, graders)),
            tally=Tally(),
            gathered=quality.gatherer(pipeline, graders),
            only=contest.rows,
            mark=ledgers.COMPARED,
        )
        mine.tally.planned(len(contest.rows))
        with Signals() as signals:
            answered = uvloop.run(answer(mine, signals))
            with closing(ledgers.connect(mine.order.ledger_file)) as con:
                report = beside.end(con, mine, answered, "compare")
                if (reason := answered.reason) is not None:
                    code = Exit(report.exit_code)
                    left = ", of what candidates before left" if code == Exit.BUDGET else ""
                    beside.stop(f"the comparison stopped: {reason.message}{left}", reason.hint, code)
                spent += beside.charged(con, answered)
                rows = tuple(_tried(contest, mine, con))
        start = _known(entrant, report, contest.tier)
        yield measured(start, rows, contest.deciding, contest.tier, answered.wired.limits()), rows


def _tried(contest: Contest, night: Night, con: duckdb.DuckDBPyConnection) -> Iterator[Tried]:
    """What became of each row, from what the ledger has for it."""
    rows = [row for row in night.rows() if row.row_no in contest.rows]
    seen = list(quality.without_gold(iter(rows), night.pipeline))
    asked = [_requests(night, row) for row in seen]
    keys = {request.key for requests in asked for request in requests}
    stored = known(con, keys, simulated=is_rehearsal(night.pipeline))
    rules, cost = Rules(night.judge, night.pipeline.settings.limits.max_attempts), _cost(night, contest.tier)
    for row, shown, requests in zip(rows, seen, asked, strict=True):
        if not any(request.key in stored for request in requests):
            yield tried(row.row_no, row.columns, (), None, contest.graders, cost)
            continue
        fitted = night.renderer.fit(shown)
        at = standing(fitted, requests, stored, rules)
        came_to = {at.request.key, *(rung.key for rung in at.rungs)}
        replies = [(r.model, stored[r.key].replies) for r in requests if r.key in came_to and r.key in stored]
        looked_at = [one for model, some in replies for one in used(fitted, some, model, night.judge)]
        output = at.verdict.output if at.ask is None and at.failure is None and at.verdict is not None else None
        yield tried(row.row_no, row.columns, looked_at, output, contest.graders, cost)


def _requests(night: Night, row: Row) -> tuple[Request, ...]:
    try:
        return night.renderer.rungs(night.renderer.request(night.renderer.fit(row)))
    except RenderError:
        return ()


def _cost(night: Night, own_tier: str) -> Cost:
    prices = prices_of(night.pipeline)

    def cost(reply: Reply, asked: str, tier: str) -> Decimal | None:
        if prices.usd_per_hour(asked) is not None:
            return reply.cost_usd if tier == own_tier else None
        return prices.cost(reply.usage, reply.model, tier, asked=asked)

    return cost


def _known(entrant: Entrant, report: reports.RunReport, tier: str) -> Candidate:
    """A candidate before its rows are looked at."""
    dollars = report.cost.total_usd
    return Candidate(
        name=entrant.name,
        model=entrant.pipeline.settings.request.asked,
        prompt=entrant.prompt,
        prompt_version=entrant.pipeline.version,
        rows=0,
        failed=0,
        mean=0.0,
        interval=Interval(0.0, 1.0),
        scores={},
        invalid_rate=None,
        usd_per_1000={tier: None},
        price=None,
        p50_ms=None,
        p95_ms=None,
        rows_per_hour=None,
        limited_by=None,
        calls=report.attempts.sent,
        cost_usd=None if dollars is None else float(dollars),
        reused=report.rows.reused,
        run_id=report.run_id,
    )
