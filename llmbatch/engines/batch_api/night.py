"""One run's batches: passes over the rows, and the wait between them."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from decimal import Decimal

from llmbatch.engines.batch_api import steps
from llmbatch.engines.batch_api.collect import Collector
from llmbatch.engines.batch_api.engine import Engine
from llmbatch.engines.batch_api.flight import Flight
from llmbatch.engines.batch_api.patience import Patience
from llmbatch.engines.batch_api.rows import Pass, Rows
from llmbatch.engines.batch_api.submit import Submitter
from llmbatch.errors import ProviderDown, Stop, StorageError
from llmbatch.ledger import OpenBatch, batches
from llmbatch.ledger.batches import REHEARSAL
from llmbatch.ledger.sequence import sequence
from llmbatch.providers.batches import RemoteBatch
from llmbatch.types import Row

_FIRST_POLL_S = 5.0
_SLOWER = 1.5  #: each poll that shows nothing new waits so many times as long as the one before
_FAILURES = 3  #: batches that fail whole, one after another, before the run ends
_OVER_QUOTA_FAILURES = 12  #: each half as large as the one before
_OVER_QUOTA = frozenset({"token_limit_exceeded", "enqueued_token_limit_reached"})


async def answer(engine: Engine) -> Iterator[Row]:
    """Bring every row to its outcome, or stop; with ``detach``, as far as it goes without waiting.

    Returns the rows without an outcome; after an unbroken run those are at most ``live_below``, to be asked one by one.
    Batches that are open when it returns go on at the provider: ``engine.flight`` has them.
    """
    night = Night(engine)
    try:
        await night.open()
        await night.go(wait=not engine.detach)
    except Stop as stop:
        engine.halt.stop(stop)
        await night.settle()
    except StorageError as error:
        engine.halt.stop(error)
    engine.watch(engine.flight.states())
    return night.unsettled()


class Night:
    """The batches of one run. Raises Stop and StorageError wherever it waits or stores."""

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
        self._collector = Collector(engine, self._patience)
        self._enqueued_tokens = engine.limits.enqueued_tokens  # less once the provider says that it was too much
        self._failures = 0
        self._waits = True
        self.rows: Rows | None = None

    @property
    def flight(self) -> Flight:
        """The open batches."""
        return self._engine.flight

    @property
    def left(self) -> int:
        """Rows without an outcome."""
        return self.rows.left if self.rows is not None else self._engine.total

    async def open(self) -> int:
        """Find out what earlier runs left, and settle what is stored; returns the rows without an outcome."""
        before = await self._engine.ledger.ask(lambda con: sequence(con, None).last)
        self.rows = Rows(self._engine, before)
        await self._submitter.recover()
        await self._look()
        return self.rows.left

    async def go(self, *, keep: int = 0, wait: bool = True) -> None:
        """Hand in, wait and fetch until every row has its outcome; without ``wait``, as far as that goes now.

        The first ``keep`` rows that would have to be asked go into no batch of this call.
        """
        engine, self._waits = self._engine, wait
        one = await self._pass(keep=keep)
        while one.waiting and wait:
            while engine.flight:
                await self._wait()
            if engine.another is not None or engine.live_below:
                await self._pass(closed=True)
                if self.left <= engine.live_below:
                    break  # the rest is not worth a batch
                if engine.another is not None:
                    engine.another(self.left)
            one = await self._pass()

    async def close(self) -> None:
        """Cancel every open batch, wait until all have ended, and fetch what they did."""
        await self._submitter.recover()
        for batch in list(self._engine.flight.open.values()):
            await self._patience.insist(lambda batch=batch: self._engine.desk.cancel(batch.batch_id or ""))  # type: ignore[misc]
        while self._engine.flight:
            await self._wait()
        await self.take()

    async def take(self) -> int:
        """Fetch what has ended, and settle what is stored; returns the rows without an outcome."""
        assert self.rows is not None
        await self._look()
        await self._pass(closed=True)
        return self.rows.left

    async def any_ended(self) -> bool:
        """Whether an open batch has ended; nothing is fetched."""
        for batch in list(self._engine.flight.open.values()):
            remote = await self._patience.insist(lambda batch=batch: self._engine.desk.batch(batch.batch_id or ""))  # type: ignore[misc]
            if remote is None or remote.ended:
                return True
        return False

    def unsettled(self) -> Iterator[Row]:
        """The rows without an outcome."""
        rows = self.rows
        return (row for row in self._engine.rows() if rows is not None and not rows.settled(row.row_no))

    async def settle(self) -> None:
        """Give the rows whose replies are stored their outcome; the run is stopping."""
        try:
            if self.rows is not None:
                await Pass(self.rows, self, self._submitter.submit, closed=True).go()
        except StorageError as error:
            self._engine.observer.noted(f"answers that are stored are not in the results: {error.message}")

    async def _pass(self, *, closed: bool = False, keep: int = 0) -> Pass:
        assert self.rows is not None
        self._engine.halt.check()
        one = Pass(self.rows, self, self._submitter.submit, closed=closed, keep=keep)
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
            if not self._waits:
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
        await self._tell_how_long(batch, remote)
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

    async def _tell_how_long(self, batch: OpenBatch, remote: RemoteBatch) -> None:
        """Keep how long the batch took: by the provider's word, or by what was seen if that is less."""
        seconds = max(0.0, time.time() - batch.made_at)
        if remote.took_s is not None:
            seconds = min(seconds, remote.took_s)
        if remote.status != "completed":
            done = remote.completed + remote.failed
            seconds = seconds * batch.requests / done if done else math.inf
        await self._note(batch, "took", f"{seconds:.1f}", REHEARSAL if self._engine.rehearsal else None)
        self._engine.ended(seconds)

    def _count_failure(self, words: str, of: int = _FAILURES) -> None:
        self._failures += 1
        if self._failures >= of:
            raise ProviderDown(f"batches fail, the last with {words}")

    async def _note(self, batch: OpenBatch, event: str, detail: str | None, ref: str | None = None) -> None:
        await self._engine.ledger.ask(lambda con: batches.add_event(con, batch.intent, event, ref, detail))
