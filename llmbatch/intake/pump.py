"""The thread that speaks to the broker: one, because AMQP connections are for one, and because the loop must not wait.

It receives as much as there is room for, carries fates out, extends leases and keeps heartbeats, and connects anew
with growing pauses when the connection is lost. Nothing is lost by that: what is not acknowledged comes again.
"""

from __future__ import annotations

import asyncio
import random
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress

from llmbatch.errors import LlmbatchError
from llmbatch.intake.brokers import Broker
from llmbatch.intake.message import Fate, Message, Settlement
from llmbatch.scrub import fault_in_words

_BUSY_S = 0.02  #: how long a turn waits for messages while there are fates to carry out soon
_IDLE_S = 1.0
_SHORTEST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 30.0
_EXTENSIONS = 3  #: in a lease


class Pump:
    """Started by ``start``, from within the loop that it reports to."""

    def __init__(
        self,
        broker: Broker,
        *,
        arrived: Callable[[list[Message]], None],
        note: Callable[[str], None],
        failed: Callable[[BaseException], None],
        limit: int | None = None,
    ) -> None:
        self.target = 0  #: messages to hold at most; set by the loop
        self.quiet_since: float | None = None  #: since when the broker says that there is nothing
        self._broker = broker
        self._left = sys.maxsize if limit is None else limit  # messages that may still be received
        self._arrived, self._note, self._failed = arrived, note, failed
        self._loop = asyncio.get_running_loop()
        self._orders: deque[tuple[Sequence[Settlement] | None, asyncio.Future[bool]]] = deque()
        self._wake = threading.Event()
        self._patient = True  # a lost connection is waited for
        self._connected = self._ending = self._dead = False
        self._held: dict[tuple[str, int], tuple[Message, float]] = {}  # with the time its lease was last extended
        self._thread = threading.Thread(target=self._serve, name="broker", daemon=True)

    @property
    def held(self) -> int:
        """Messages received and not settled."""
        return len(self._held)

    def holds(self, message: Message) -> bool:
        """Whether it can still be settled, as far as is known."""
        return _key(message) in self._held

    def start(self, *, connected: bool) -> None:
        """Begin. A broker that is not ``connected`` is connected to, and waited for, as when it was lost."""
        self._connected = connected
        self._thread.start()

    async def settle(self, batch: Sequence[Settlement]) -> bool:
        """Carry fates out; False when the connection was lost, and with it perhaps the fates."""
        return await self._ordered(batch)

    async def pause(self) -> None:
        """Hold nothing but what was received. Set ``target`` to 0 before."""
        await self._ordered(None)

    def hurry(self) -> None:
        """The worker ends: a broker that is away is tried once more, and not waited for."""
        self._patient = False
        self._wake.set()

    async def close(self) -> None:
        """Carry out what was ordered, and let go of the broker."""
        self._ending = True
        self._wake.set()
        if self._thread.is_alive():
            await asyncio.to_thread(self._thread.join)

    async def _ordered(self, batch: Sequence[Settlement] | None) -> bool:
        done: asyncio.Future[bool] = self._loop.create_future()
        self._orders.append((batch, done))
        self._wake.set()
        if self._dead:  # perhaps since just now: nobody else takes the order
            self._give_up()
        return await done

    # --- the broker's thread -----------------------------------------------------------------------------------

    def _serve(self) -> None:
        try:
            up = self._connected or self._connect()
            while up and (not self._ending or self._orders):
                try:
                    self._turn()
                except self._broker.faults as fault:
                    up = self._reconnect(fault)
        except BaseException as error:  # noqa: BLE001 - a thread's faults must reach those who wait for it
            self._post(self._failed, error)
        finally:
            self._dead = True
            self._give_up()
            with suppress(*self._broker.faults):  # it may be lost already
                self._broker.close()

    def _turn(self) -> None:
        if self._orders:
            batch, done = self._orders[0]
            whole = True
            if batch is None:
                self._broker.pause()
            else:
                whole = self._broker.settle(batch)
                self._forget(batch)
                self.quiet_since = None  # what went back may come again
            self._orders.popleft()
            self._post(_resolve, done, whole)
            return
        self._extend()
        target = min(self.target, self.held + self._left)
        if self._ending or self.held >= target:
            self._wake.wait(_BUSY_S)
            self._wake.clear()
            self._beat()
            return
        found = self._broker.receive(target, self.held, _BUSY_S if self._held else _IDLE_S)
        self._left -= len(found)
        now = time.monotonic()
        for message in found:
            self._held[_key(message)] = (message, now)
        if found:
            self.quiet_since = None
            self._post(self._arrived, found)
        elif self.quiet_since is None:
            self.quiet_since = now

    def _beat(self) -> None:
        """AMQP's heartbeats, while nothing is received."""
        if self._broker.lease_s is None:
            self._broker.extend(())

    def _extend(self) -> None:
        lease = self._broker.lease_s
        if lease is None:
            return
        now = time.monotonic()
        due = [key for key, (_, since) in self._held.items() if now - since > lease / _EXTENSIONS]
        if due:
            self._broker.extend([self._held[key][0] for key in due])
            for key in due:
                self._held[key] = (self._held[key][0], now)

    def _forget(self, batch: Sequence[Settlement]) -> None:
        for each in batch:
            self._held.pop(_key(each.message), None)
            self._left += each.fate is Fate.BACK  # it may be received again

    def _connect(self) -> bool:
        try:
            self._broker.connect()
        except self._broker.faults as fault:
            return self._reconnect(fault)
        return True

    def _reconnect(self, fault: BaseException) -> bool:
        """Until it works, or the worker ends."""
        self._note(f"the connection to the broker is lost: {fault_in_words(fault)}")
        self.quiet_since = None
        if self._broker.lease_s is None:
            self._drop_held()
        pause = _SHORTEST_PAUSE_S
        while True:
            self._wake.wait(pause * random.uniform(0.5, 1.0))
            self._wake.clear()
            try:
                self._broker.connect()
            except LlmbatchError:
                raise
            except self._broker.faults as again:
                if self._ending or not self._patient:
                    self._note(
                        f"the broker does not answer: {fault_in_words(again)}; what is not acknowledged comes again"
                    )
                    return False
                pause = min(_LONGEST_PAUSE_S, pause * 2)
            else:
                self._note("the broker answers again")
                return True

    def _drop_held(self) -> None:
        """A connection's messages die with it: the broker delivers them again."""
        self._held.clear()
        self._give_up()

    def _give_up(self) -> None:
        with suppress(IndexError):
            while True:
                batch, done = self._orders.popleft()
                self._forget(batch or ())
                self._post(_resolve, done, False)

    def _post(self, fn: Callable[..., object], *args: object) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(fn, *args)


def _key(message: Message) -> tuple[str, int]:
    """Of one delivery."""
    return message.id, id(message.handle)


def _resolve(future: asyncio.Future[bool], value: bool) -> None:
    if not future.done():
        future.set_result(value)
