"""Gold rows, asked before all others through the same engine and ledger. A bad night ends here, for cents."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import orjson

from llmbatch import ledger as ledgers
from llmbatch.cli.quality import without_gold
from llmbatch.engines import live
from llmbatch.errors import BelowFloor, InputError
from llmbatch.grade import Canary, Grader, canary
from llmbatch.pipeline import Pipeline
from llmbatch.providers.wrap import Tail
from llmbatch.source import check_row, open_source
from llmbatch.tally import Tally
from llmbatch.types import Attempt, Outcome, Reply, Row, Verdict
from llmbatch.validate import output_of

if TYPE_CHECKING:
    from llmbatch.cli.night import Night

_MOST = 2_000  #: gold rows; they are held in memory and paid for every night


def gold_rows(pipeline: Pipeline) -> tuple[Row, ...]:
    """The rows of the gold file; empty when the pipeline names none.

    Raises InputError for rows that are not usable, or without anything to hold an answer against.
    """
    told = pipeline.settings.quality
    if told.gold is None:
        return ()
    columns = {grader.gold for grader in told.graders.values() if grader.gold is not None}
    path = pipeline.folder / told.gold
    with TemporaryDirectory() as spool, open_source([str(path)], Path(spool)) as source:
        rows = tuple(_usable(row, pipeline, columns) for row in source.rows())
    if not 0 < len(rows) <= _MOST:
        raise InputError(f"{path} has {len(rows):,} rows", hint=f"a gold file has 1 to {_MOST:,} rows")
    return rows


def _usable(row: Row, pipeline: Pipeline, columns: set[str]) -> Row:
    if problem := check_row(row, pipeline.settings.input):
        raise InputError(f"{row.place}: {problem}")
    if all(row.columns.get(name) is None for name in columns):
        raise InputError(f"{row.place}: no gold: {', '.join(sorted(columns))} are missing or null")
    return replace(row, row_no=-1 - row.row_no)  # below zero: no row of the input, and first in line at the limits


@dataclass(slots=True)
class _Listening:
    """The observer of the gold rows: their calls are the run's, their outcomes are not."""

    tally: Tally
    replies: dict[int, Reply] = field(default_factory=dict)  #: that serve a row, by row_no
    attempts: int = 0
    dollars: Decimal | None = Decimal(0)

    def planned(self, total: int) -> None:
        """Nothing: the run's total stays."""

    def attempted(self, attempt: Attempt) -> None:
        """Nothing: the recorder tells the tally."""

    def judged(self, reply: Reply, verdict: Verdict) -> None:
        """Count what it costs, and tell the tally."""
        self.tally.judged(reply, verdict)
        self.attempts += 1
        unknown = self.dollars is None or reply.cost_usd is None
        self.dollars = None if unknown else (self.dollars or Decimal(0)) + (reply.cost_usd or Decimal(0))

    def finished(self, outcome: Outcome, reply: Reply | None) -> None:
        """Keep the reply of a row that has a valid one."""
        if outcome.failure is None and reply is not None:
            self.replies[outcome.row_no] = reply

    def failed(self, outcome: Outcome, place: str, problem: Callable[[], str]) -> None:
        """Nothing: a row without a reply did not agree."""

    def noted(self, message: str) -> None:
        """Tell the tally."""
        self.tally.noted(message)


async def ask(night: Night, engine: live.Engine) -> Canary | None:
    """Ask the gold rows, and stop the run when too few agree. None when there are none, or the run was told to stop.

    Stored replies of earlier nights do not serve: they would say how good the model was then. Those of this night do,
    so that a run that is resumed does not pay twice; unless its canary failed, for then the next try is a new one.
    """
    rows = night.gold
    if not rows:
        return None
    since = await engine.ledger.ask(lambda con: ledgers.seq_before_night(con, engine.run))
    listening = _Listening(night.tally)
    asking = replace(engine, observer=listening, tail=Tail(), since=since)
    await live.answer(asking, without_gold(iter(rows), night.pipeline))
    if engine.halt:
        return None
    verdicts = list(_verdicts(night, listening.replies))
    found = canary(verdicts, night.floor, listening.attempts, listening.dollars, _hash(rows))
    if found.below:
        engine.halt.stop(
            BelowFloor(
                f"{found.agreed} of {found.rows} gold rows were answered as they should be, which is below the floor of"
                f" {found.floor:.1%} with confidence; no other row was sent",
                hint="mend the prompt or choose another model; the same command asks the gold rows again",
            )
        )
    elif found.undecided:
        night.tally.noted(
            f"{found.agreed} of {found.rows} gold rows agree: too few to tell whether that is below the floor of"
            f" {found.floor:.1%}; {found.wanted_rows:,} would tell a fall of 5 points"
        )
    return found


def _hash(rows: Sequence[Row]) -> str:
    digest = sha256()
    for row in rows:
        digest.update(orjson.dumps(row.columns, option=orjson.OPT_SORT_KEYS, default=str))
    return digest.hexdigest()[:12]


def _verdicts(night: Night, replies: Mapping[int, Reply]) -> Iterator[bool]:
    """Of each gold row, whether every grader that knows what is right is content."""
    told = night.pipeline.settings.quality.graders
    for row in night.gold:
        reply = replies.get(row.row_no)
        output = output_of(reply.text) if reply is not None else None
        scores = ((grader.grade(output, row.columns), told[name].passes) for name, grader in _with_gold(night).items())
        yield output is not None and all(score is None or score.value >= passes for score, passes in scores)


def _with_gold(night: Night) -> dict[str, Grader]:
    told = night.pipeline.settings.quality.graders
    return {name: grader for name, grader in night.gathered.graders.items() if told[name].gold is not None}
