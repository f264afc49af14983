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
from llmbatch.types import Request, Row, Status

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

    def settled(self, row_no: int) -> bool:
        """Whether a row has its outcome."""
        return bool(self.state[row_no] & _SETTLED)


class Pass:
    """Reads every row once. ``closed``: nothing is submitted, only settled and counted."""

    def __init__(
        self, rows: Rows, room: Room, submit: Callable[[OpenBatch], Awaitable[None]], *, closed: bool = False
    ) -> None:
        self._rows = rows
        self._engine = rows.engine
        self._room = room
        self._submit = submit
        self._fill = Fill(self._engine.ledger)
        self._just_asked: set[str] = set()  # by the rows that were looked up at once
        self._closed = closed  # no further batch may go in this pass
        self.waiting = False  #: rows have no outcome yet
        self.left_over = 0  #: of them, rows that are in no batch

    async def go(self) -> None:
        """Settle and submit. Raises Stop and StorageError."""
        for chunk in _chunks(row for row in self._engine.rows() if not self._rows.settled(row.row_no)):
            if not self._closed:
                self._engine.halt.check()
            await self._take(chunk)
        await self._flush()

    async def _take(self, chunk: list[Row]) -> None:
        engine = self._engine
        asked = [(row, request) for row in chunk if (request := self._rendered(row)) is not None]
        keys = list({request.key for _, request in asked})
        intents, run_no, before = list(engine.flight.open), engine.run.run_no, self._rows.before
        stored = await engine.ledger.ask(lambda con: known(con, keys, simulated=engine.rehearsal))
        held = await engine.ledger.ask(lambda con: batches.keys_in(con, intents, keys))
        tried = await engine.ledger.ask(lambda con: batches.tried(con, run_no, keys))
        seqs = [reply.seq for past in stored.values() for reply in past.replies if reply.seq > before]
        paid_for = await engine.ledger.ask(lambda con: batches.asked_for(con, run_no, seqs))
        self._just_asked.clear()
        for row, request in asked:
            if request.key in held or request.key in self._fill.keys or request.key in self._just_asked:
                self.waiting = True
                continue
            past = stored.get(request.key, Known())
            own = [reply.seq for reply in past.replies if paid_for.get(reply.seq) == row.row_no]
            self._count(row, past, own)
            await self._settle(row, request, past, tried.get(request.key), frozenset(own))

    def _rendered(self, row: Row) -> Request | None:
        request = self._rows.settler.rendered(row)
        if request is None:
            self._rows.state[row.row_no] |= _SETTLED
        return request

    async def _settle(
        self, row: Row, request: Request, past: Known, tried: batches.Tried | None, own: frozenset[int]
    ) -> None:
        rows, state = self._rows, self._rows.state
        fresh = not own and tried is None and not state[row.row_no] & _ASKED
        again = rows.settler.on_stored(row, request, past, ask_failed=fresh, own=own)
        if again is None:
            state[row.row_no] |= _SETTLED
        elif tried is not None and tried.batches >= self._engine.max_attempts:
            failure, reason = tried.failure or "timeout", tried.reason or "none answered it in time"
            failure = failure if failure in FAILURES else "rejected"
            rows.settler.finish(
                row, Status.FAILED, request, failure=failure, reason=f"{tried.batches} batches: {reason}"
            )
            state[row.row_no] |= _SETTLED
        else:
            await self._ask(row, again)

    def _count(self, row: Row, past: Known, own: list[int]) -> None:
        """Count replies that this run paid for, once each, as valid or not."""
        state = self._rows.state
        seen = state[row.row_no] & _JUDGED
        for reply in [reply for reply in past.replies if reply.seq in own][seen:]:
            self._engine.observer.judged(reply, self._engine.judge.judge(row, reply))
        state[row.row_no] = (state[row.row_no] & ~_JUDGED) | min(len(own), _JUDGED)

    async def _ask(self, row: Row, request: Request) -> None:
        """Put a request into the batch that is being filled; hand that in first when it is full."""
        engine = self._engine
        self.waiting = True
        if self._closed:
            self.left_over += 1
            return
        line = engine.desk.line(request)
        asked = BatchRequest(request.key, row.row_no, request.attempts_used + 1, engine.purse.bound(request), line)
        if self._full(asked):
            await self._flush()
        if not self._fill.requests and not self._closed:
            self._closed = not await self._room.room(tokens_of(line), asked.worst_usd or Decimal(0))
        if self._closed:
            self.left_over += 1
            return
        self._rows.state[row.row_no] |= _ASKED
        self._just_asked.add(request.key)
        await self._fill.add(asked)

    def _full(self, asked: BatchRequest) -> bool:
        fill, limits = self._fill, self._engine.limits
        return bool(fill.requests) and (
            fill.requests >= limits.requests
            or fill.bytes + len(asked.body.encode()) + 1 > limits.bytes
            or not self._room.may_grow(fill.tokens + tokens_of(asked.body), fill.worst_usd + (asked.worst_usd or 0))
        )

    async def _flush(self) -> None:
        """Hand the batch in that was filled."""
        if not self._fill.requests:
            return
        fill, self._fill = self._fill, Fill(self._engine.ledger)
        if self._closed or not await self._room.room(fill.tokens, fill.worst_usd):
            self._closed = True
            self.left_over += fill.requests
            return
        await self._submit(await fill.mean(self._engine.run.run_no, time.time()))
        self._engine.watch(self._engine.flight.states())


def _chunks(rows: Iterator[Row]) -> Iterator[list[Row]]:
    while chunk := list(islice(rows, _CHUNK)):
        yield chunk
