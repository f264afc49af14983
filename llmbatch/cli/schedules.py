"""A schedule between the ledger, the machine and the report."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

import orjson

from llmbatch import ledger as ledgers
from llmbatch import report as reports
from llmbatch.cli.deadline import Due
from llmbatch.ledger import Ledger, Run
from llmbatch.schedule import Decided, State
from llmbatch.tally import Tally

if TYPE_CHECKING:
    from llmbatch.engines.auto import Conductor


@dataclass(frozen=True, slots=True)
class Kept:
    """What a run that stopped had stored."""

    due: Due
    speed: float | None
    decided: tuple[Decided, ...]


async def kept(ledger: Ledger, run: Run) -> Kept | None:
    """The last schedule of the runs that this one goes on with."""
    text = await ledger.ask(lambda con: ledgers.kept_schedule(con, run.resumes)) if run.resumes else None
    if text is None:
        return None
    facts = orjson.loads(text)
    decided = tuple(Decided(**one) for one in facts["decided"])
    return Kept(Due(facts["deadline"], facts["deadline_at"]), facts["speed"], decided)


async def due_before(ledger: Ledger, run: Run) -> Due | None:
    """When the runs that this one goes on with were due, if they had a schedule."""
    found = await kept(ledger, run)
    return None if found is None else found.due


async def keep(ledger: Ledger, run: Run, due: Due, state: State) -> None:
    """Store how the schedule stands."""
    facts = {
        "deadline": due.words,
        "deadline_at": due.at,
        "speed": state.speed,
        "decided": [asdict(one) for one in state.decided],
    }
    text = orjson.dumps(facts).decode()
    await ledger.ask(lambda con: ledgers.keep_schedule(con, run.run_no, text))


def told(led: Conductor, tally: Tally, run: Run) -> reports.Schedule | None:
    """For the report."""
    state = led.state
    if state is None:
        return None
    twice = led.twice
    saved: Decimal | None = tally.saved_by_tier_usd if not tally.unpriced else None
    return reports.Schedule(
        deadline=reports.moment(state.terms.deadline_at),
        rows_per_s=None if state.speed is None else round(state.speed, 3),
        decisions=tuple(
            reports.Decision(
                at=reports.moment(one.at),
                at_s=round(one.at - run.started_at, 1),
                tier=one.tier,
                reason=one.reason,
                rows_left=one.left,
                cancels_batches=one.closes,
                beside=one.beside,
                measures=one.measures,
            )
            for one in state.decided
        ),
        paid_twice=twice.answers,
        paid_twice_usd=twice.usd,
        may_be_paid_twice=led.open_requests,
        discount_usd=None if saved is None else saved - twice.saved_usd - twice.usd,
    )
