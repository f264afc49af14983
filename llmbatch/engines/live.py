"""The live engine: the way of a row, from source to outcome.

    source -> render -> ledger lookup --known--> judge -> outcome
                           | unknown                ^  | with a ladder: invalid to the end, refused, graded low:
                           v                        |  v the same of the next model
              provider: retry(hedge(record(limits(budget(timed(openai))))))

One direction. Every reply is durable in the ledger before it is judged. Identical requests are asked once: the first
row leads, its twins wait and are judged on the same replies.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TypeVar

import duckdb

from llmbatch.engines.room import Room
from llmbatch.engines.settler import Settler
from llmbatch.errors import Decision, ProviderDown, Refused, Rejected, Stop, StorageError
from llmbatch.halt import Halt
from llmbatch.ledger import Known, Ledger, Recall, Rejection, Run, known
from llmbatch.providers.hedged import Tail
from llmbatch.render import Renderer
from llmbatch.types import Observer, Provider, Request, Row
from llmbatch.validate import Judge

T = TypeVar("T")

_CHUNK = 2_000  #: rows recalled at once
_HELD = (
    500  #: rows not recalled that are looked up at once: a look-up reads every stored key, however few are asked for
)
_PASSED = 50_000  #: rows recalled, after which those that were not are looked up, however few they are
_IDLE = 20  #: times as long as a look-up took, for which no other is made only because nothing is asked for
_BREATH = 20  #: rows to be asked for after which calls in flight get their turn: some 5 ms
_BREATH_S = 0.004  #: or after so long, whatever becomes of rows
OPEN_ROWS = 4_000  #: rows between lookup and outcome: bounds memory, and what a kill can cost
_CHUNK_CHARS = 2 * 2**20  #: of prompts looked up at once
_OPEN_CHARS = 16 * 2**20  #: of the prompts of open rows; a longer prompt is open alone


@dataclass(frozen=True, slots=True)
class Engine:
    """What answering rows takes."""

    ledger: Ledger
    run: Run
    renderer: Renderer
    judge: Judge
    provider: Provider
    observer: Observer
    halt: Halt
    max_attempts: int
    id_column: str | None = None
    retry_failed: frozenset[str] | None = None  #: classes to ask again; empty means every class
    rehearsal: bool = True  #: stored replies of the simulator may serve
    since: int = 0  #: stored replies up to this ``seq`` do not serve
    open_rows: int = OPEN_ROWS
    tail: Tail = field(default_factory=Tail)  #: told when the last row is on its way


async def answer(engine: Engine, rows: Iterable[Row]) -> None:
    """Bring every row to its outcome, or stop when told to. What is in flight then may end (see Halt)."""
    async with asyncio.TaskGroup() as group:
        way = _Way(engine, group)
        for row in rows:
            if engine.halt:
                return
            await way.go(row)
        await way.end()
        engine.tail.begin()


@dataclass(slots=True)
class _Lead:
    """A row that asks for its key, and its twins."""

    row: Row
    requests: tuple[Request, ...]  #: one for each model of the ladder
    twins: list[Row] = field(default_factory=list)
    stored: dict[str, Known] = field(default_factory=dict)  #: what is known of each request
    faults: dict[str, Decision | Stop | StorageError] = field(default_factory=dict)  #: of requests without a reply

    @property
    def key(self) -> str:
        """Of the request to the first model."""
        return self.requests[0].key

    @property
    def chars(self) -> int:
        """Of the prompt."""
        return len(self.requests[0].messages[-1]["content"])


class _Way:
    def __init__(self, engine: Engine, group: asyncio.TaskGroup) -> None:
        self._engine = engine
        self._settler = Settler(engine)
        self._group = group
        self._leads: dict[str, _Lead] = {}
        self._room = Room(engine.open_rows, _OPEN_CHARS)
        self._chunk = min(_CHUNK, max(1, engine.open_rows // 2))
        self._recall = Recall(() if engine.since else engine.run.earlier, simulated=engine.rehearsal)
        self._claimed: list[_Lead] = []  #: not looked up yet
        self._gathered = self._gathered_chars = 0  #: rows since the last look-up, and their prompts
        self._held: list[_Lead] = []  #: to be looked up by key
        self._passed = 0  #: rows since that was last done
        self._asking = 0  #: leads on their way
        self._idle_until = 0.0  #: by the loop's clock
        self._begun = 0  #: leads sent on their way since calls in flight had their turn
        self._breathed_at = 0.0
        self._looking_up: asyncio.Task[None] | None = None

    async def go(self, row: Row) -> None:
        """Render a row and claim its key; when enough are claimed, look them up."""
        request = self._settler.rendered(row)
        if request is None:
            return
        lead = _Lead(row, self._engine.renderer.rungs(request))
        if self._gathered_chars + lead.chars > _CHUNK_CHARS:
            await self._look_up()
        while not self._room.take(lead.chars):
            if self._asking:
                await self._room.given()
            else:
                await self._look_up(whole=True)  # only rows that were held back have the room
        # A key is claimed before it is looked up, so that a reply stored meanwhile is seen by one of the two.
        first = self._leads.setdefault(lead.key, lead)
        if first is lead:
            self._claimed.append(lead)
        else:
            first.twins.append(row)
        self._gathered += 1
        self._gathered_chars += lead.chars
        if self._gathered >= self._chunk:
            await self._look_up()
        elif self._out_of_breath():
            await self._breathe()

    async def end(self) -> None:
        """Send off the last rows."""
        await self._look_up(whole=True)
        if self._looking_up is not None:
            await self._looking_up

    async def _look_up(self, *, whole: bool = False) -> None:
        """Look up what is claimed, while the next rows are read and rendered. ``whole``: nothing is held back."""
        leads, self._claimed = self._claimed, []
        self._gathered = self._gathered_chars = 0
        if self._looking_up is not None:
            await self._looking_up
        self._looking_up = self._group.create_task(self._send_off(leads, whole=whole))

    async def _send_off(self, leads: list[_Lead], *, whole: bool) -> None:
        """Settle what last night's replies still serve; look up the rest, now or with more, and ask for the unknown."""
        rows = [(lead.row.row_no, lead.key) for lead in leads]
        served = await self._read(leads, lambda con: self._recall.replies(con, rows))
        for lead in leads if served is not None else ():
            if self._out_of_breath():
                await self._breathe()
            reply = served.get(lead.key) if served else None
            twins_may_climb = len(lead.requests) > 1 and lead.twins  # and only the first model's reply is at hand
            if reply is None or twins_may_climb or not self._settler.serve(lead.row, lead.requests, reply):
                self._held.append(lead)
            else:
                self._go_on(lead, None, {lead.key: Known([reply])})
        self._passed += len(leads)
        idle = not self._asking and asyncio.get_running_loop().time() >= self._idle_until
        if whole or idle or len(self._held) >= _HELD or self._passed >= _PASSED:
            await self._look_up_held()

    async def _look_up_held(self) -> None:
        leads, self._held, self._passed = self._held, [], 0
        if not leads:
            return
        keys = [request.key for lead in leads for request in lead.requests]
        rehearsal, since, clock = self._engine.rehearsal, self._engine.since, asyncio.get_running_loop().time
        began = clock()
        stored = await self._read(leads, lambda con: known(con, keys, simulated=rehearsal, since=since))
        self._idle_until = clock() + _IDLE * (clock() - began)
        for lead in leads if stored is not None else ():
            if self._out_of_breath():
                await self._breathe()
            its = {r.key: (stored.get(r.key) if stored else None) or Known() for r in lead.requests}
            request = self._settler.on_stored(lead.row, lead.requests, its, ask_failed=True)
            self._go_on(lead, request, its)

    async def _read(self, leads: list[_Lead], read: Callable[[duckdb.DuckDBPyConnection], T]) -> T | None:
        """Ask the ledger. None when it cannot be read: the run stops, and the leads are let go."""
        try:
            return await self._engine.ledger.ask(read)
        except StorageError as error:
            self._engine.halt.stop(error)
            for lead in leads:  # the next row may wait for their room
                self._release(lead)
            return None

    def _out_of_breath(self) -> bool:
        return self._begun >= _BREATH or time.perf_counter() - self._breathed_at >= _BREATH_S

    async def _breathe(self) -> None:
        """Give calls in flight their turn."""
        self._begun = 0
        await asyncio.sleep(0)
        self._breathed_at = time.perf_counter()

    def _go_on(self, lead: _Lead, request: Request | None, stored: dict[str, Known]) -> None:
        """Let a lead go that is settled and has no twins; else go on with it beside the others."""
        if request is None and not lead.twins:
            self._release(lead)
        else:
            self._asking += 1
            self._begun += 1
            lead.stored = stored
            self._group.create_task(self._lead(lead, request))

    async def _lead(self, lead: _Lead, request: Request | None) -> None:
        """Ask for the leading row if need be, then settle its twins on the same replies."""
        if request is not None:
            await self._ask(lead, lead.row, request)
        for twin in lead.twins:  # the list may grow while a twin is asked for
            request = self._settler.on_stored(twin, lead.requests, lead.stored, ask_failed=False)
            fault = lead.faults.get(request.key) if request is not None else None
            if request is not None and fault is None:
                await self._ask(lead, twin, request)
            elif request is not None and isinstance(fault, Decision):
                self._settler.on_fault(twin, lead.requests, request, lead.stored, fault.failure, fault.message)
        self._asking -= 1
        self._release(lead)

    async def _ask(self, lead: _Lead, row: Row, request: Request | None) -> None:
        """Ask until the row has its outcome, or there is no reply to judge: then the lead has the fault."""
        engine, settler, own = self._engine, self._settler, set[int]()
        while request is not None:
            past = lead.stored.setdefault(request.key, Known())
            try:
                reply = await engine.provider.call(request)
            except Rejected as fault:  # for good: a row may climb for it, and twins end as this one does
                past.rejection = Rejection(-1, fault.failure, fault.message)
                request = settler.on_stored(row, lead.requests, lead.stored, ask_failed=False, own=own)
            except (Decision, Stop, StorageError) as fault:
                self._stopped(lead, row, request, fault)
                return
            else:
                own.add(reply.seq)
                past.replies.append(reply)
                past.rejection = None
                request = settler.on_reply(row, lead.requests, request, reply, lead.stored, own)

    def _stopped(self, lead: _Lead, row: Row, request: Request, fault: Decision | Stop | StorageError) -> None:
        """No reply came for a row: it failed, or it is pending because the run ends."""
        halt = self._engine.halt
        if isinstance(fault, Refused):
            fault = ProviderDown(f"the provider refuses: {fault.message}")
        if not isinstance(fault, Decision):
            halt.stop(fault)
        elif halt.reason is not None:
            fault = halt.reason  # it was cut short by the stop
        else:
            self._settler.on_fault(row, lead.requests, request, lead.stored, fault.failure, fault.message)
        lead.faults[request.key] = fault

    def _release(self, lead: _Lead) -> None:
        del self._leads[lead.key]
        rows = 1 + len(lead.twins)
        self._room.give(rows, rows * lead.chars)
