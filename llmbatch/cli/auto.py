"""--tier auto: what the conductor of a schedule works with."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING

from llmbatch import ledger as ledgers
from llmbatch.cli import deadline, schedules, tiers
from llmbatch.cli.deadline import Due
from llmbatch.cli.wiring import Wired
from llmbatch.engines import auto, batch_api, live
from llmbatch.halt import Part
from llmbatch.pipeline import Pipeline
from llmbatch.prices import PriceTable
from llmbatch.providers import capabilities
from llmbatch.schedule import Offer, State, Terms, wake_at
from llmbatch.tally import BatchState, Tally
from llmbatch.types import Attempt, Row

if TYPE_CHECKING:
    from llmbatch.cli.night import Night

_USUAL = {"input": 1_000.0, "output": 200.0}  #: tokens of a call, to compare the prices of tiers by
_ENOUGH = 5  #: latencies that tell something
_HESITATION_S, _HESITATION = 10.0, 0.06  #: seconds kept for that, or that part of the time given
_SLOW = 0.7  #: the quantile of latency that calls are thought to take


async def answer(
    night: Night,
    engine: live.Engine,
    wired: Wired,
    rows: Callable[[], Iterator[Row]],
    cuts: list[Callable[[], None]],
    due: Due,
) -> auto.Conductor:
    """Bring every row to its outcome by the deadline, at the least cost, or stop."""
    batched = await tiers.batch_engine(night, engine, wired, rows)
    try:
        conductor = auto.Conductor(await _auto(night, engine, wired, batched, due))
        cuts.append(conductor.cut)
        try:
            await conductor.answer()
        finally:
            by = wake_at(conductor.state) if conductor.state is not None else math.inf
            tiers.tell(night, replace(batched, detach=conductor.waits), by)
    finally:
        await batched.desk.close()
    return conductor


async def _auto(night: Night, engine: live.Engine, wired: Wired, batched: batch_api.Engine, due: Due) -> auto.Auto:
    pipeline, ledger, run, part = night.pipeline, engine.ledger, engine.run, engine.halt
    assert isinstance(part, Part)
    assert wired.switch is not None
    assert wired.timed is not None
    history = await ledger.ask(lambda con: ledgers.batch_times(con, simulated=engine.rehearsal))
    given_s = due.left_s
    before = await schedules.kept(ledger, run)
    caps = await wired.caps(ledger, run)

    def hold(on: bool) -> None:
        if caps is not None:
            caps.held = batched.flight.worst_usd if on else Decimal(0)

    def terms() -> Terms:
        return terms_of(pipeline, wired.prices, due.at, reserve_s(night.tally, given_s), tuple(history))

    async def keep(state: State) -> None:
        await schedules.keep(ledger, run, due, state)

    return auto.Auto(
        batched=lambda conductor: _hooked(batched, conductor, night.tally),
        live=engine,
        halt=part,
        switch=wired.switch,
        terms=terms,
        speed=lambda: _speed(wired, night.tally, given_s),
        clock=time.time,
        keep=keep,
        hold=hold,
        reopen=wired.lanes[0].gate.reopen,
        hurry=wired.timed.hurry,
        note=night.tally.noted,
        detach=night.order.detach,
        before=before.decided if before is not None else (),
        known_speed=before.speed if before is not None else None,
    )


def _hooked(batched: batch_api.Engine, conductor: auto.Conductor, tally: Tally) -> batch_api.Night:
    """The batch engine's night, with the conductor as its hooks."""

    def watch(states: tuple[BatchState, ...]) -> None:
        tally.told(states)
        conductor.watched(states)

    def twice(attempt: Attempt) -> None:
        saved = tally.saved_by(attempt) if tally.saved_by is not None else None
        conductor.twice.add(attempt, None if saved is None else saved.by_tier)

    return batch_api.Night(replace(batched, watch=watch, ended=conductor.ended, another=conductor.another, twice=twice))


def terms_of(
    pipeline: Pipeline, prices: PriceTable, deadline_at: float, reserve_s: float, history: tuple[float, ...] = ()
) -> Terms:
    """What holds for the night: tiers that cost less than the standard one, the cheapest first."""
    settings = pipeline.settings
    model, standard = settings.request.model, prices.expected(settings.request.model, None, **_USUAL)
    offers = []
    for tier in ("batch", "flex"):
        usd = prices.expected(model, tier, **_USUAL)
        if tier in capabilities.of(settings).tiers and (usd is None or standard is None or usd < standard):
            offers.append(Offer(tier, usd))
    return Terms(
        deadline_at=deadline_at,
        offers=tuple(sorted(offers, key=lambda offer: 0.0 if offer.usd is None else offer.usd)),
        cancel_s=settings.batch.cancel_s,
        reserve_s=reserve_s,
        history=history,
    )


def reserve_s(tally: Tally, given_s: float) -> float:
    """Seconds before the deadline, of so many given, that no call is planned for.

    In them nothing new is sent; before them is what it takes to see that it is time, and to wait out a 429 then.
    """
    return deadline.margin(given_s, tally) + min(_HESITATION_S, given_s * _HESITATION)


def _speed(wired: Wired, tally: Tally, given_s: float) -> tuple[float, float] | None:
    """Rows a second of standard calls: by calls at once and their latency, by requests and by tokens a minute.

    With it the seconds to keep free before the deadline. None before enough calls were answered.
    """
    assert wired.timed is not None
    fast, answers = wired.timed.latencies, sum(sums.attempts for sums in tally.by_model.values())
    seconds = fast.quantile(_SLOW) if len(fast) >= _ENOUGH else tally.latency_s.quantile(_SLOW)
    if seconds is None or not answers:
        return None
    limits, a_row = wired.limits(), max(1.0, answers / max(1, tally.valid))
    tokens = sum(sums.input + sums.output for sums in tally.by_model.values()) / answers
    calls = [limits.concurrency / max(seconds, 1e-3)]
    if limits.requests_per_minute:
        calls.append(limits.requests_per_minute / 60)
    if limits.tokens_per_minute and tokens:
        calls.append(limits.tokens_per_minute / 60 / tokens)
    return min(calls) / a_row, reserve_s(tally, given_s)
