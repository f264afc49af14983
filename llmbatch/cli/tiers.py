"""Which engine answers, by the tier that is asked for; and what a person is told of batches that go on."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING

from llmbatch.budget import Caps
from llmbatch.cli.order import Order, how_to_go_on
from llmbatch.cli.spending import WorstCase
from llmbatch.cli.wiring import Wired
from llmbatch.engines import live
from llmbatch.errors import Stop, UsageError, Waiting
from llmbatch.pipeline import Pipeline
from llmbatch.providers import capabilities
from llmbatch.types import Request, Row

if TYPE_CHECKING:
    from llmbatch.cli.deadline import Due
    from llmbatch.cli.night import Night
    from llmbatch.engines import batch_api
    from llmbatch.engines.auto import Conductor
    from llmbatch.engines.batch_api import BatchLimits, Flight

_REQUESTS, _BYTES = 10_000, 50_000_000  #: of a file, where no page says what the provider takes


def refuse(order: Order, pipeline: Pipeline) -> None:
    """Raise UsageError for flags that mean nothing at the tier."""
    tier = pipeline.settings.limits.tier
    if order.detach and tier not in ("batch", "auto"):
        raise UsageError("--detach is for --tier batch and auto: live calls need the run that made them")
    if tier == "auto" and order.deadline is None:
        raise UsageError("--tier auto needs a deadline", hint='add --deadline 06:00, or --deadline "in 8h"')
    if tier == "auto" and pipeline.settings.request.ladder:
        raise UsageError(
            "--tier auto asks one model, and [request] has a ladder", hint="--model NAME asks that model alone"
        )


async def answer(
    night: Night,
    engine: live.Engine,
    wired: Wired,
    rows: Callable[[], Iterator[Row]],
    cuts: list[Callable[[], None]],
    due: Due | None,
) -> Conductor | None:
    """Bring every row to its outcome, live, by batches or as a schedule says, or stop when told to.

    Returns what led the run by a schedule.
    """
    match night.pipeline.settings.limits.tier:
        case "batch":
            rest = await _by_batches(night, engine, wired, rows, cuts)
            if not wired.halt:
                await live.answer(engine, rest)
        case "auto":
            from llmbatch.cli import auto

            assert due is not None  # see refuse
            return await auto.answer(night, engine, wired, rows, cuts, due)
        case _:
            await live.answer(engine, rows())
    return None


async def _by_batches(
    night: Night,
    engine: live.Engine,
    wired: Wired,
    rows: Callable[[], Iterator[Row]],
    cuts: list[Callable[[], None]],
) -> Iterator[Row]:
    """Returns the rows that are left to be asked live."""
    from llmbatch.engines import batch_api

    batched = replace(
        await batch_engine(night, engine, wired, rows),
        live_below=night.pipeline.settings.batch.live_below,
        detach=night.order.detach,
    )
    task = asyncio.ensure_future(batch_api.answer(batched))
    cuts.append(task.cancel)  # type: ignore[arg-type]  # what it returns is of no use
    try:
        return await task
    except asyncio.CancelledError:
        if not engine.halt:
            raise
        return iter(())
    finally:
        tell(night, batched)
        await batched.desk.close()


async def batch_engine(
    night: Night, engine: live.Engine, wired: Wired, rows: Callable[[], Iterator[Row]]
) -> batch_api.Engine:
    """What answering by batches takes, beside the live engine."""
    from llmbatch.engines import batch_api
    from llmbatch.providers.batches import BatchDesk

    settings = night.pipeline.settings
    forms = capabilities.of(settings).structured_output
    purse = await _purse(night, engine, wired)  # before the desk, which somebody has to close
    return batch_api.Engine(
        ledger=engine.ledger,
        run=engine.run,
        renderer=engine.renderer,
        judge=engine.judge,
        desk=BatchDesk(settings.provider, note=night.tally.noted, forms=forms),
        observer=engine.observer,
        halt=engine.halt,
        max_attempts=engine.max_attempts,
        rows=rows,
        total=night.total,
        limits=limits_of(night.pipeline),
        purse=purse,
        cost=wired.cost,
        versions={lane.model: lane.pipeline.version for lane in wired.lanes},
        id_column=engine.id_column,
        retry_failed=engine.retry_failed,
        rehearsal=engine.rehearsal,
        watch=night.tally.told,
        asked=wired.foreseen,
    )


def limits_of(pipeline: Pipeline) -> BatchLimits:
    """How large batches may be: as pipeline.toml says, else as the provider's page says."""
    from llmbatch.engines.batch_api import BatchLimits

    known, own = capabilities.of(pipeline.settings), pipeline.settings.batch
    return BatchLimits(
        requests=own.requests or known.batch_requests or _REQUESTS,
        bytes=own.bytes or known.batch_bytes or _BYTES,
        enqueued_tokens=own.enqueued_tokens or known.batch_enqueued_tokens,
        in_flight=own.in_flight,
        window=own.window or known.batch_window or "24h",
        poll_s=own.poll_s,
        listing_lag_s=own.listing_lag_s,
        patience_s=pipeline.settings.limits.outage_patience_s,
    )


def tell(night: Night, engine: batch_api.Engine, by: float = math.inf) -> None:
    """Say which batches go on, what ends them, and ``by`` when (seconds since the epoch) they must be seen to again."""
    flight, halt = engine.flight, engine.halt
    if not flight:
        return
    words = in_flight(flight)
    if halt.reason is None and engine.detach:
        when = (
            "" if math.isinf(by) else f", at the latest at {datetime.fromtimestamp(by).astimezone():%Y-%m-%d %H:%M:%S}"
        )
        halt.stop(Waiting(f"{words}; fetch them later{when}", hint=how_to_go_on()))
    elif halt.reason is not None:
        ends = f"{words}, still running and billing; `llmbatch cancel {night.order.pipeline}` cancels them"
        night.tally.noted(ends)
        halt.reason.hint = f"{ends}\n{halt.reason.hint or how_to_go_on()}"


def in_flight(flight: Flight) -> str:
    """``3 batches with 1,200 requests are at the provider``."""
    one = len(flight) == 1
    return f"{len(flight):,} batch{'' if one else 'es'} with {flight.requests:,} requests {'is' if one else 'are'} out"


@dataclass(slots=True)
class CapPurse:
    """The run's caps, for batches: every request reserves its worst case at batch price until its batch is fetched."""

    caps: Caps | None
    worst: WorstCase

    def bound(self, request: Request) -> Decimal | None:
        """What a request can cost at most; None when unknown."""
        return self.worst(request)

    def left(self) -> Decimal | None:
        """What may still be spent; None without a cap."""
        return None if self.caps is None else self.caps.left

    def spend(self, dollars: Decimal) -> None:
        """Count what was spent."""
        if self.caps is not None:
            self.caps.add(dollars, by_batches=True)

    def reached(self, amount: Decimal) -> Stop:
        """Why no further request goes."""
        assert self.caps is not None
        return self.caps.reached(amount)


async def _purse(night: Night, engine: live.Engine, wired: Wired) -> CapPurse:
    caps = await wired.caps(engine.ledger, engine.run)
    return CapPurse(caps, WorstCase(night.pipeline, wired.prices, tier="batch"))
