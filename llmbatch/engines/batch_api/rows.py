"""One pass over the rows: what is stored settles them, what is not goes into batches."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator
from decimal import Decimal
from itertools import islice
from typing import TYPE_CHECKING, Protocol

from llmbatch.engines.batch_api.fill import Fill, tokens_of
from llmbatch.engines.settler import Settler
from llmbatch.errors import FAILURES
from llmbatch.ledger import BatchRequest, Known, OpenBatch, batches, known
from llmbatch.types import Reply, Request, Row

if TYPE_CHECKING:
    from llmbatch.engines.batch_api.engine import Engine

_CHUNK = 500  #: rows looked up at once
_SETTLED = 0x80  #: the row has its outcome
_ASKED = 0x40  #: it was put into a batch by this run
_JUDGED = 0x3F  #: how many of its replies that this run paid for are counted as judged


class Room(Protocol):
    """What says whether another batch may go."""

    def may_grow(self, tokens: int, worst_usd: Decimal) -> bool:
        """Whether a batch that is being filled may become so large."""
        ...

    async def room(self, tokens: int, worst_usd: Decimal) -> bool:
        """Wait until a batch of such a size may go; False when it may not, and nothing can be waited for."""
        ...


class Rows:
    """What a run knows of its rows between passes: a byte each, a megabyte for a million."""

    def __init__(self, engine: Engine, before: int) -> None:
        self.engine = engine
        self.settler = Settler(engine)
        self.before = before  #: attempts up to this number were there when the run began
        self.state = bytearray(engine.total)
        self.left = engine.total  #: rows without an outcome

    def settled(self, row_no: int) -> bool:
        """Whether a row has its outcome."""
        return bool(self.state[row_no] & _SETTLED)

    def settle(self, row_no: int) -> None:
        """A row has its outcome."""
        self.left -= not self.settled(row_no)
        self.state[row_no] |= _SETTLED


class Pass:
    """Reads every row once. ``closed``: nothing is submitted, only settled and counted. ``keep``: so many are not."""

    def __init__(
        self,
        rows: Rows,
        room: Room,
        submit: Callable[[OpenBatch], Awaitable[None]],
        *,
        closed: bool = False,
        keep: int = 0,
    ) -> None:
        self._rows = rows
        self._engine = rows.engine
        self._room = room
        self._submit = submit
        self._fills: dict[str, Fill] = {}  # by model: a batch is for one
        self._just_asked: set[str] = set()  # by the rows that were looked up at once
        self._closed = closed  # no further batch may go in this pass
        self._keep = keep
        self.waiting = False  #: rows have no outcome yet

    async def go(self) -> None:
        """Settle and submit. Raises Stop and StorageError."""
        for chunk in _chunks(row for row in self._engine.rows() if not self._rows.settled(row.row_no)):
            if not self._closed:
                self._engine.halt.check()
            await self._take(chunk)
        for model in list(self._fills):
            await self._flush(model)

    async def _take(self, chunk: list[Row]) -> None:
        engine = self._engine
        asked = [(row, requests) for row in chunk if (requests := self._rendered(row))]
        keys = list({request.key for _, requests in asked for request in requests})
        intents, run_no, before = list(engine.flight.open), engine.run.run_no, self._rows.before
        stored = await engine.ledger.ask(lambda con: known(con, keys, simulated=engine.rehearsal))
        held = await engine.ledger.ask(lambda con: batches.keys_in(con, intents, keys))
        # A schedule ends batches itself, and has other ways for their rows: what they did not ask is no try.
        unasked = engine.another is None
        tried = await engine.ledger.ask(lambda con: batches.tried(con, run_no, keys, unasked=unasked))
        seqs = [reply.seq for past in stored.values() for reply in past.replies if reply.seq > before]
        paid_for = await engine.ledger.ask(lambda con: batches.asked_for(con, run_no, seqs))
        self._just_asked.clear()
        for row, requests in asked:
            if any(request.key in held or self._is_asked(request.key) for request in requests):
                self.waiting = True
                continue
            replies = [reply for request in requests for reply in stored.get(request.key, Known()).replies]
            own = [reply for reply in replies if paid_for.get(reply.seq) == row.row_no]
            self._count(row, own)
            await self._settle(row, requests, stored, tried, frozenset(reply.seq for reply in own))

    def _is_asked(self, key: str) -> bool:
        """Whether a request is in a batch that is being filled, or was a moment ago."""
        return key in self._just_asked or any(key in fill.keys for fill in self._fills.values())

    def _rendered(self, row: Row) -> tuple[Request, ...]:
        """What is asked for a row, of each model of the ladder; nothing when it has its outcome."""
        request = self._rows.settler.rendered(row)
        if request is None:
            self._rows.settle(row.row_no)
            return ()
        return self._engine.renderer.rungs(request)

    async def _settle(
        self,
        row: Row,
        requests: tuple[Request, ...],
        stored: dict[str, Known],
        tried: dict[str, batches.Tried],
        own: frozenset[int],
    ) -> None:
        settler, state = self._rows.settler, self._rows.state
        fresh = not own and not any(r.key in tried for r in requests) and not state[row.row_no] & _ASKED
        again = settler.on_stored(row, requests, stored, ask_failed=fresh, own=own)
        if again is None:
            self._rows.settle(row.row_no)
        elif (found := tried.get(again.key)) is not None and found.batches >= self._engine.max_attempts:
            failure, reason = found.failure or "timeout", found.reason or "none answered it in time"
            failure = failure if failure in FAILURES else "rejected"
            settler.on_fault(row, requests, again, stored, failure, f"{found.batches} batches: {reason}")
            self._rows.settle(row.row_no)
        else:
            await self._ask(row, again)

    def _count(self, row: Row, own: list[Reply]) -> None:
        """Count replies that this run paid for, once each, as valid or not."""
        state = self._rows.state
        seen = state[row.row_no] & _JUDGED
        for reply in own[seen:]:
            self._engine.observer.judged(reply, self._engine.judge.judge(row, reply))
        state[row.row_no] = (state[row.row_no] & ~_JUDGED) | min(len(own), _JUDGED)

    async def _ask(self, row: Row, request: Request) -> None:
        """Put a request into the batch that is being filled for its model; hand that in first when it is full."""
        engine, model = self._engine, request.model
        self.waiting = True
        if self._closed or self._keep > 0:
            self._keep -= 1
            return
        line = engine.desk.line(request)
        asked = BatchRequest(request.key, row.row_no, request.attempts_used + 1, engine.purse.bound(request), line)
        if model in self._fills and self._full(self._fills[model], asked):
            await self._flush(model)
        if model not in self._fills and not self._closed:
            self._closed = not await self._room.room(tokens_of(line), asked.worst_usd or Decimal(0))
        if self._closed:
            return
        if not self._rows.state[row.row_no] & _ASKED and not request.attempts_used:
            engine.asked(request)
        self._rows.state[row.row_no] |= _ASKED
        self._just_asked.add(request.key)
        await self._fills.setdefault(model, Fill(engine.ledger)).add(asked)

    def _full(self, fill: Fill, asked: BatchRequest) -> bool:
        limits, filling = self._engine.limits, sum((each.worst_usd for each in self._fills.values()), Decimal(0))
        return (
            fill.requests >= limits.requests
            or fill.bytes + len(asked.body.encode()) + 1 > limits.bytes
            or not self._room.may_grow(fill.tokens + tokens_of(asked.body), filling + (asked.worst_usd or 0))
        )

    async def _flush(self, model: str) -> None:
        """Hand the batch in that was filled for a model."""
        fill = self._fills.pop(model)
        if self._closed or not await self._room.room(fill.tokens, fill.worst_usd):
            self._closed = True
            return
        await self._submit(await fill.mean(self._engine.run.run_no, time.time()))
        self._engine.watch(self._engine.flight.states())


def _chunks(rows: Iterator[Row]) -> Iterator[list[Row]]:
    while chunk := list(islice(rows, _CHUNK)):
        yield chunk
