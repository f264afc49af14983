"""Passes over the rows, and the wait between them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Protocol

from llmbatch.engines.batch_api import steps
from llmbatch.engines.batch_api.collect import Collector, Cost
from llmbatch.engines.batch_api.flight import Flight
from llmbatch.engines.batch_api.patience import Patience
from llmbatch.engines.batch_api.rows import Pass, Rows
from llmbatch.engines.batch_api.submit import Submitter
from llmbatch.errors import ProviderDown, Stop, StorageError
from llmbatch.halt import Halt
from llmbatch.ledger import Ledger, OpenBatch, Run, batches
from llmbatch.ledger.sequence import sequence
from llmbatch.providers.batches import BatchDesk, RemoteBatch
from llmbatch.render import Renderer
from llmbatch.tally import BatchState
from llmbatch.types import Observer, Request, Row
from llmbatch.validate import Judge

_FIRST_POLL_S = 5.0
_SLOWER = 1.5  #: each poll that shows nothing new waits so many times as long as the one before
_FAILURES = 3  #: batches that fail whole, one after another, before the run ends
_OVER_QUOTA_FAILURES = 12  #: each half as large as the one before
_OVER_QUOTA = frozenset({"token_limit_exceeded", "enqueued_token_limit_reached"})


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """How large batches may be, and how patient the engine is."""

    requests: int  #: of a file
    bytes: int  #: of a file
    enqueued_tokens: int | None  #: estimated, of all open batches
    in_flight: int  #: open batches
    window: str = "24h"
    poll_s: float = 120.0  #: longest pause between two looks
    listing_lag_s: float = 60.0  #: a batch that was created is listed by then
    patience_s: float = 900.0  #: for files and batches to answer at all


class Purse(Protocol):
    """The money of a run."""

    def bound(self, request: Request) -> Decimal | None:
        """What a request can cost at most in a batch; None when there is no cap, or no price is known."""
        ...

    def left(self) -> Decimal | None:
        """What may still be spent; None without a cap."""
        ...

    def spend(self, dollars: Decimal) -> None:
        """Count what was spent."""
        ...

    def reached(self, amount: Decimal) -> Stop:
        """Why no further request goes."""
        ...


@dataclass(frozen=True, slots=True)
class Engine:
    """What answering rows by batches takes. ``rows`` gives all rows anew, in the same order, each time."""

    ledger: Ledger
    run: Run
    renderer: Renderer
    judge: Judge
    desk: BatchDesk
    observer: Observer
    halt: Halt
    max_attempts: int
    rows: Callable[[], Iterator[Row]]
    total: int
    limits: BatchLimits
    purse: Purse
    cost: Cost
    versions: Mapping[str, str]  #: the prompt version of the requests to each model
    live_below: int = 0  #: so few rows that are left after the first batches are not asked in another one
    detach: bool = False  #: hand in, fetch what is ready, and wait for nothing
    id_column: str | None = None
    retry_failed: frozenset[str] | None = None
    rehearsal: bool = True
    watch: Callable[[tuple[BatchState, ...]], None] = lambda _: None  #: told how the batches stand
    flight: Flight = field(default_factory=Flight)


async def answer(engine: Engine) -> Iterator[Row]:
    """Bring every row to its outcome, or stop; with ``detach``, as far as it goes without waiting.

    Returns the rows without an outcome; after an unbroken run those are at most ``live_below``, to be asked one by one.
    Batches that are open when it returns go on at the provider: ``engine.flight`` has them.
    """
    night = _Night(engine)
    try:
        await night.answer()
    except Stop as stop:
        engine.halt.stop(stop)
        await night.settle()
    except StorageError as error:
        engine.halt.stop(error)
    engine.watch(engine.flight.states())
    rows = night.rows
    return (row for row in engine.rows() if rows is not None and not rows.settled(row.row_no))


class _Night:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._patience = Patience(engine.halt, engine.limits.patience_s)
        self._submitter = Submitter(
            engine.ledger,
            engine.desk,
            engine.flight,
            self._patience,
            window=engine.limits.window,
            rest=lambda: engine.halt.sleep(engine.limits.listing_lag_s),
        )
        self._collector = Collector(
            engine.ledger,
            engine.desk,
            engine.observer,
            self._patience,
            run_no=engine.run.run_no,
            versions=engine.versions,
            cost=engine.cost,
            spend=engine.purse.spend,
        )
        self._enqueued_tokens = engine.limits.enqueued_tokens  # less once the provider says that it was too much
        self._failures = 0
        self.rows: Rows | None = None

    async def answer(self) -> None:
        engine = self._engine
        self.rows = rows = Rows(engine, await engine.ledger.ask(lambda con: sequence(con, None).last))
        await self._submitter.recover()
        await self._look()
        one = await self._pass(rows)
        while one.waiting and not engine.detach:
            while engine.flight:
                await self._wait()
            if engine.live_below and (await self._pass(rows, closed=True)).left_over <= engine.live_below:
                break  # the rest is not worth a batch
            one = await self._pass(rows)

    async def settle(self) -> None:
        """Give the rows whose replies are stored their outcome; the run is stopping."""
        try:
            if self.rows is not None:
                await Pass(self.rows, self, self._submitter.submit, closed=True).go()
        except StorageError as error:
            self._engine.observer.noted(f"answers that are stored are not in the results: {error.message}")

    async def _pass(self, rows: Rows, *, closed: bool = False) -> Pass:
        self._engine.halt.check()
        one = Pass(rows, self, self._submitter.submit, closed=closed)
        await one.go()
        return one

    # --- room for another batch --------------------------------------------------------------------------------

    def may_grow(self, tokens: int, worst_usd: Decimal) -> bool:
        """Whether a batch that is being filled may become so large: half of the queue, and what the money allows."""
        left, most = self._engine.purse.left(), self._enqueued_tokens
        return (most is None or tokens <= max(most // 2, 1)) and (
            left is None or self._engine.flight.worst_usd + worst_usd <= left
        )

    async def room(self, tokens: int, worst_usd: Decimal) -> bool:
        """Wait until another batch of such a size may go; False when it may not, and nothing can be waited for."""
        while not self._fits(tokens, worst_usd):
            if self._engine.detach:
                return False
            if not self._engine.flight:
                return self._alone(worst_usd)
            await self._wait()
        return True

    def _fits(self, tokens: int, worst_usd: Decimal) -> bool:
        flight, limits = self._engine.flight, self._engine.limits
        left = self._engine.purse.left()
        return (
            len(flight) < limits.in_flight
            and (self._enqueued_tokens is None or flight.tokens + tokens <= self._enqueued_tokens)
            and (left is None or flight.worst_usd + worst_usd <= left)
        )

    def _alone(self, worst_usd: Decimal) -> bool:
        """Nothing is open, and still it does not fit: the money is spent, or others hold the queue."""
        left = self._engine.purse.left()
        if left is not None and worst_usd > left:
            raise self._engine.purse.reached(worst_usd)
        return True

    # --- looking after open batches ----------------------------------------------------------------------------

    async def _wait(self) -> None:
        """Look at the open batches until one of them has ended and is collected."""
        pause = min(_FIRST_POLL_S, self._engine.limits.poll_s)
        while not await self._look():
            await self._engine.halt.sleep(pause)
            pause = min(pause * _SLOWER, self._engine.limits.poll_s)

    async def _look(self) -> bool:
        """See how every open batch stands, and fetch what has ended; whether anything was."""
        engine, fetched = self._engine, False
        for batch in list(engine.flight.open.values()):
            assert batch.batch_id is not None
            remote = await self._patience.insist(lambda batch=batch: engine.desk.batch(batch.batch_id or ""))  # type: ignore[misc]
            if remote is None:
                engine.observer.noted(f"batch {batch.batch_id} is gone at the provider; its rows are asked again")
                await self._submitter.give_up(batch, "gone")
                self._count_failure("a batch is gone at the provider")
                fetched = True
                continue
            engine.flight.remote[batch.intent] = remote
            if remote.ended:
                await self._end(batch, remote)
                fetched = True
        engine.watch(engine.flight.states())
        return fetched

    async def _end(self, batch: OpenBatch, remote: RemoteBatch) -> None:
        engine = self._engine
        steps.passed("ended")
        await self._note(batch, "ended", remote.status)
        steps.passed("end_noted")
        if remote.status == "failed":
            await self._failed(batch, remote)
            return
        self._failures = 0
        form = engine.flight.forms.get(batch.intent, engine.desk.form)
        took_s = max(0.0, time.time() - batch.made_at)
        became, refused = await self._collector.collect(batch, remote, took_s, form)
        words = ", ".join(f"{name} {count:,}" for name, count in became.items() if count and name != "answered")
        if words:
            engine.observer.noted(f"batch {remote.id}, {remote.status}: {words}")
        await self._note(batch, "collected", words or None)
        engine.flight.drop(batch.intent)
        steps.passed("collection_noted")
        if batch.file_id is not None:
            await self._submitter.remove(batch.intent, batch.file_id)
        if refused is not None:
            raise ProviderDown(f"the provider refuses: {refused}")

    async def _failed(self, batch: OpenBatch, remote: RemoteBatch) -> None:
        """A batch of which no row was tried. Too many tokens in the queue: the next ones are smaller."""
        await self._submitter.give_up(batch, f"failed: {remote.error_code}")
        if remote.error_code in _OVER_QUOTA:
            flight = self._engine.flight
            self._enqueued_tokens = max(flight.tokens, batch.tokens // 2, 1)
            self._engine.observer.noted("the provider's queue of tokens is full: batches become smaller")
            if not flight:
                await self._engine.halt.sleep(self._engine.limits.poll_s)  # others hold it
        self._count_failure(
            f"{remote.error_code}: {remote.error}",
            of=_OVER_QUOTA_FAILURES if remote.error_code in _OVER_QUOTA else _FAILURES,
        )

    def _count_failure(self, words: str, of: int = _FAILURES) -> None:
        self._failures += 1
        if self._failures >= of:
            raise ProviderDown(f"batches fail, the last with {words}")

    async def _note(self, batch: OpenBatch, event: str, detail: str | None) -> None:
        await self._engine.ledger.ask(lambda con: batches.add_event(con, batch.intent, event, None, detail))
