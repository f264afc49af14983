"""How a deadline would be met, before anything is sent: the schedule's first decision and its last moments."""

from __future__ import annotations

import time
from datetime import datetime

import duckdb

from llmbatch import ledger as ledgers
from llmbatch import schedule
from llmbatch.cli.auto import reserve_s, terms_of
from llmbatch.cli.deadline import due
from llmbatch.cli.order import Order
from llmbatch.cli.wiring import is_rehearsal
from llmbatch.pipeline import Pipeline
from llmbatch.planning.model import Outline
from llmbatch.prices import PriceTable
from llmbatch.schedule.times import LEAVE_FLEX, latest
from llmbatch.tally import Tally


def outline(
    con: duckdb.DuckDBPyConnection,
    pipeline: Pipeline,
    prices: PriceTable,
    order: Order,
    rows: int,
    live_s: float | None,
) -> Outline | None:
    """Of so many ``rows`` to ask, which take ``live_s`` seconds live, if that is known. None at other tiers."""
    when = due(order)
    if pipeline.settings.limits.tier != "auto" or when is None or not rows:
        return None
    tally = Tally()
    tally.planned(rows)
    history = tuple(ledgers.batch_times(con, simulated=is_rehearsal(pipeline)))
    terms = terms_of(pipeline, prices, when.at, reserve_s(tally, when.left_s), history)
    speed = rows / live_s if live_s else None
    state = schedule.begin(terms, time.time(), rows, speed=speed)
    last = state.decided[-1]
    return Outline(
        deadline=_moment(when.at),
        first=last.tier,
        reason=last.reason,
        batches_until=_moment(schedule.last_call(state)) if speed and terms.offers_tier("batch") else None,
        flex_until=_moment(latest(state, LEAVE_FLEX)) if speed and terms.offers_tier("flex") else None,
        rows_per_s=None if speed is None else round(speed, 3),
    )


def _moment(epoch: float) -> str:
    return datetime.fromtimestamp(epoch).astimezone().isoformat(timespec="seconds")
