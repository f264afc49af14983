"""The way of a message: taken, answered by the live engine, its result handed on, acknowledged.

    broker -> pump (thread) -> rows -> engines.live -> ledger -> files or reply queue -> acknowledged
                                 ^                                            |
                                 '---- again, later ----  failed for now  <---'

A message is acknowledged when its outcome and every reply that it cost are committed to the ledger and its result is
in a synced file, or together with its result's place in the reply queue. Whatever dies before that, the message comes
again, and the ledger answers it.

Messages are taken in small groups, each of which is one look-up in the ledger. A message whose request is being
answered waits for that answer instead of paying for a second one. One that was delivered twice without an answer is
answered alone from then on, so that, if it ends the worker, no other message is blamed.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal

from llmbatch.engines import live
from llmbatch.errors import LlmbatchError, StorageError
from llmbatch.intake.brokers import Broker
from llmbatch.intake.files import Files, Written
from llmbatch.intake.message import Fate, Message, Settlement
from llmbatch.intake.pump import Pump
from llmbatch.intake.results import Results
from llmbatch.intake.rows import row_from
from llmbatch.intake.rules import Drained, Rules, fate_of
from llmbatch.intake.watching import Watching
from llmbatch.render import RenderError
from llmbatch.tally import Tally
from llmbatch.types import Attempt, Outcome, Reply, Row

_GATHER_S = 0.02  #: how long a group waits for company
_LOOK_UPS = 3.0  #: times as long as the last look-up took: they get a quarter of the ledger's time at most
_FLUSH_S = 0.02  #: how long results wait for company: each flush is a commit
_MOST = 2_000  #: messages in a group
_AHEAD = 2  #: messages held for each call that may be in flight
_SPARE = 16


@dataclass(slots=True)
class _Open:
    """A message that is being answered."""

    message: Message
    row: Row
    cost: Decimal | None = field(default_factory=Decimal)


class Intake:
    """One worker's life with one run. Make it within the loop, then ``await work()``."""

    def __init__(self, engine: live.Engine, broker: Broker, results: Results, rules: Rules, tally: Tally) -> None:
        self._engine = replace(engine, observer=Watching(tally, self.finished))
        self._results, self._rules, self._tally = results, rules, tally
        self._pump = Pump(broker, arrived=self._arrived, note=tally.noted, failed=self._broken, limit=rules.most)
        self.files: Files | None = None
        self.slots: Callable[[], int] = lambda: 1  #: calls that may be in flight now
        self._new: deque[Message] = deque()
        self._suspects: deque[Message] = deque()
        self._open: dict[int, _Open] = {}
        self._asked: dict[str, list[_Open]] = {}  # by key: messages that wait for another's answer
        self._ready: list[tuple[Settlement, bytes]] = []
        self._groups: set[asyncio.Task[None]] = set()
        self._count = 0
        self.taken = 0  #: messages received and not given back, as the pump counts them against the limit
        self._unsettled = 0
        self._woken = asyncio.Event()
        self._fault: BaseException | None = None

    async def work(self, *, connected: bool) -> None:
        """Until the engine is told to stop. ``connected``: whether the broker is. Raises what broke the worker."""
        self._engine.halt.listen(lambda _: self._stopping())
        self._pump.start(connected=connected)
        flushing = asyncio.create_task(self._flush())
        try:
            while not self._engine.halt:
                await self._turn()
                self._raise_faults(flushing)
            self._pump.target = 0
            self._pump.hurry()
            await self._end_groups()
            self._new += [each.message for each in self._open.values()]  # without an outcome
            self._open.clear()
            await self._pump.pause()  # what it was just receiving has arrived then, and goes back too
            await self._drain(flushing)
        finally:
            flushing.cancel()
            await self._pump.close()
            if self.files is not None:
                self.files.close()
        self._raise_faults(flushing)
        if self._fault is not None:
            raise self._fault

    def _stopping(self) -> None:
        self._pump.hurry()  # a turn may be waiting for a broker that is away
        self._woken.set()

    async def _drain(self, flushing: asyncio.Task[None]) -> None:
        while self._unsettled and not flushing.done():
            self._give_back()
            await asyncio.sleep(_FLUSH_S / 2)

    def _raise_faults(self, flushing: asyncio.Task[None]) -> None:
        if flushing.done() and not flushing.cancelled() and (error := flushing.exception()) is not None:
            raise error
        for task in [task for task in self._groups if task.done()]:
            self._groups.discard(task)
            task.result()

    # --- messages in ------------------------------------------------------------------------------------------

    def _arrived(self, messages: list[Message]) -> None:
        self.taken += len(messages)
        self._unsettled += len(messages)
        self._new += messages
        self._woken.set()

    def _broken(self, error: BaseException) -> None:
        self._fault = error
        words = error.message if isinstance(error, LlmbatchError) else type(error).__name__
        self._engine.halt.stop(StorageError(f"the broker cannot be used any more: {words}"))

    async def _turn(self) -> None:
        """One group, or one suspect; sets how many messages are to be held."""
        self._pump.target = self._room()
        if self._suspects:
            await self._alone(self._suspects.popleft())
            return
        if not self._new:
            await self._wait()
            return
        began = time.monotonic()
        await self._engine.ledger.ask(lambda _: None)  # returns when earlier look-ups have ended
        await asyncio.sleep(max(_GATHER_S, _LOOK_UPS * (time.monotonic() - began)))
        group = [self._new.popleft() for _ in range(min(_MOST, len(self._new)))]
        self._suspects += [m for m in group if self._rules.suspects(m)]
        if fresh := [m for m in group if not self._rules.suspects(m)]:
            self._groups.add(asyncio.create_task(self._answer(fresh)))

    async def _alone(self, suspect: Message) -> None:
        """Answer one while no other message is held, or its end would be counted against them."""
        self._pump.target = 0
        self._give_back()
        await self._end_groups()
        await self._pump.pause()
        await self._until_unsettled(1)
        await self._answer([suspect])
        await self._until_unsettled(0)

    async def _until_unsettled(self, count: int) -> None:
        while self._unsettled > count and not self._engine.halt:
            self._give_back()
            await asyncio.sleep(_FLUSH_S / 2)

    def _room(self) -> int:
        return _AHEAD * self.slots() + _SPARE

    async def _wait(self) -> None:
        self._woken.clear()
        idle, quiet = self._rules.idle_s, self._pump.quiet_since
        if self._rules.most is not None and self.taken >= self._rules.most and not self._unsettled:
            self._engine.halt.stop(Drained(f"{self.taken:,} messages were taken"))
        elif idle is not None and not self._unsettled and quiet is not None and time.monotonic() - quiet > idle:
            self._engine.halt.stop(Drained("the queue is empty"))
        else:
            try:
                async with asyncio.timeout(0.25):
                    await self._woken.wait()
            except TimeoutError:
                return

    # --- answering --------------------------------------------------------------------------------------------

    async def _answer(self, group: list[Message]) -> None:
        """Bring a group to its outcomes, and then those that waited for the same requests."""
        written = {} if self.files is None else self.files.written(group)
        opened = [each for message in group if (each := self._opened(message, written)) is not None]
        while opened:
            keys, first = self._claim(opened)
            await live.answer(self._engine, [each.row for each in first])
            opened = [each for key in keys for each in self._asked.pop(key)]
            if self._engine.halt:
                break

    def _opened(self, message: Message, written: Mapping[str, Written]) -> _Open | None:
        if message.named and (line := written.get(message.id)) is not None:
            fate = Fate.DEAD if line.dead else Fate.DONE
            self._ready.append((Settlement(message, fate, reason=line.reason), b""))
            return None
        if not message.counted:
            self._back([message])
            return None
        row_no, self._count = self._count, self._count + 1
        self._tally.planned(self._count)
        rules = self._rules
        row = row_from(
            message, row_no, rules.queues.rows, rules.settings, taken=self._results.taken, most=rules.max_deliveries
        )
        self._open[row_no] = each = _Open(message, row)
        return each

    def _claim(self, opened: list[_Open]) -> tuple[list[str], list[_Open]]:
        """Those whose request nobody else is asking, and their keys; the rest waits."""
        keys: list[str] = []
        first: list[_Open] = []
        for each in opened:
            key = self._key(each.row)
            if key is not None and key in self._asked:
                self._asked[key].append(each)
                continue
            if key is not None:
                self._asked[key] = []
                keys.append(key)
            first.append(each)
        return keys, first

    def _key(self, row: Row) -> str | None:
        if row.problem is not None:
            return None
        try:
            return self._engine.renderer.request(self._engine.renderer.fit(row)).key
        except RenderError:
            return None

    def paid(self, attempt: Attempt) -> None:
        """A call was made for a row."""
        each = self._open.get(attempt.row_no)
        if each is not None and attempt.reply is not None:
            each.cost = None if each.cost is None or attempt.cost_usd is None else each.cost + attempt.cost_usd

    def finished(self, outcome: Outcome, reply: Reply | None) -> None:
        """A row has its outcome."""
        each = self._open.pop(outcome.row_no)
        fate = fate_of(outcome, each.message.deliveries, self._rules.max_deliveries)
        reason = f"{outcome.failure}: {outcome.reason}" if fate is Fate.DEAD else None
        line = b"" if fate is Fate.AGAIN else self._results.of(each.message, each.row, outcome, reply, each.cost)
        in_queue = self.files is None and line
        self._ready.append((Settlement(each.message, fate, line if in_queue else None, reason), line))

    # --- results out ------------------------------------------------------------------------------------------

    async def _flush(self) -> None:
        while True:
            await asyncio.sleep(_FLUSH_S)
            if self.files is not None:
                self.files.roll()
            if self._ready:
                ready, self._ready = self._ready, []
                try:
                    await self._hand_on(ready)
                except StorageError as error:
                    self._engine.halt.stop(error)
                    raise

    async def _hand_on(self, ready: list[tuple[Settlement, bytes]]) -> None:
        """Commit outcomes, write results, settle messages: in this order."""
        await self._engine.ledger.ask(lambda _: None)  # outcomes are committed before this returns
        settled = [settlement for settlement, _ in ready]
        if self.files is not None:
            # what came by a connection that is lost comes again, perhaps to another worker: its line is that one's
            lines = [(s, line) for s, line in ready if line and self._pump.holds(s.message)]
            await asyncio.to_thread(self.files.write, lines)
        if await self._pump.settle(settled) and self.files is not None:
            self.files.acknowledged([settlement.message for settlement in settled])
        self._unsettled -= len(settled)
        self._woken.set()

    async def _end_groups(self) -> None:
        while self._groups:
            done, self._groups = await asyncio.wait(self._groups)
            for task in done:
                task.result()

    def _give_back(self) -> None:
        """What is held and not being answered goes back to the queue."""
        waiting = [*self._new, *self._suspects]
        self._new.clear()
        self._suspects.clear()
        self._back(waiting)

    def _back(self, messages: Sequence[Message]) -> None:
        self.taken -= len(messages)
        self._ready += [(Settlement(message, Fate.BACK), b"") for message in messages]
