"""A worker: one process's part of the request path, the same wrappers as in a run of one process."""

from __future__ import annotations

import asyncio
import os
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from math import inf

from llmbatch import __version__, providers
from llmbatch.engines.ray.messages import (
    Answered,
    Cut,
    Ended,
    Failed,
    Greeting,
    Halted,
    Heard,
    Kit,
    LastRows,
    Lease,
    ToDriver,
    ToWorker,
)
from llmbatch.engines.ray.permitted import Permitted
from llmbatch.errors import Decision, LlmbatchError, Stop
from llmbatch.halt import Halt
from llmbatch.limits import RetryBudget
from llmbatch.providers import wrap
from llmbatch.types import Provider, Reply

_MOST_CHARS = 4 * 2**20  #: of replies that are said at once, a single longer one aside
_SILENCE_S = 2.0  #: a worker says something at least so often, if only that it lives


@dataclass(slots=True)
class _Mouth:
    """What there is to say, gathered until the driver listens."""

    messages: deque[ToDriver] = field(default_factory=deque)
    notes: list[str] = field(default_factory=list)
    something: asyncio.Event = field(default_factory=asyncio.Event)

    def say(self, message: ToDriver) -> None:
        """Say it with the next words."""
        self.messages.append(message)
        self.something.set()

    def said(self) -> list[ToDriver]:
        """What is to be said now; the rest stays for the next time."""
        said: list[ToDriver] = []
        chars = 0
        while self.messages and chars < _MOST_CHARS:
            message = self.messages.popleft()
            said.append(message)
            if isinstance(message, Ended) and isinstance(message.came, Reply):
                chars += len(message.came.raw)
        if not self.messages:
            self.something.clear()
        return said

    def note(self, words: str) -> None:
        """What a person should know."""
        self.notes.append(words)
        self.something.set()


class Worker:
    """Brings leased requests to their last word. Lives in one event loop; holds nothing that is not asked for again."""

    def __init__(self) -> None:
        self._mouth = _Mouth()
        self._halt = Halt()
        self._tail = wrap.Tail()
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_cut = False

    async def open(self, kit: Kit) -> Greeting:
        """Build the request path. A fault is said, not raised: a raised one would be in Ray's logs, with its words."""
        os.environ.update(kit.environment)
        self._window_s = kit.window_s
        try:
            self._build(kit)
        except LlmbatchError as error:
            return Greeting(__version__, error.message)
        return Greeting(__version__)

    async def tell(self, messages: list[ToWorker]) -> None:
        """Hear what the driver says."""
        for message in messages:
            match message:
                case Lease():
                    self._permitted.lease(message)
                    task = asyncio.get_running_loop().create_task(self._answer(message))
                    self._tasks.add(task)
                    task.add_done_callback(self._tasks.discard)
                case LastRows():
                    self._tail.begin()
                case Halted():
                    self._halt.stop(Stop(message.words))
                case Cut():
                    self._is_cut = True
                    self._timed.cut()
                case _:
                    self._permitted.hear(message)
        if self._is_cut:
            asyncio.get_running_loop().call_later(0.1, self._timed.cut)  # calls that were let go just before

    async def hear(self) -> Heard:
        """Say what there is to say; wait for it at most ``_SILENCE_S``, and then a little for company."""
        mouth = self._mouth
        with suppress(TimeoutError):
            async with asyncio.timeout(_SILENCE_S):
                await mouth.something.wait()
            await asyncio.sleep(self._window_s)
        notes, mouth.notes = mouth.notes, []
        return Heard(mouth.said(), notes, self._tail.hedges, getattr(self._provider, "structured_output", None))

    def _build(self, kit: Kit) -> None:
        limits = kit.settings.limits
        self._provider = providers.make(kit.settings, self._mouth.note)
        inner, self._timed = wrap.sending(self._provider, limits, self._mouth.note)
        self._permitted = Permitted(inner, self._mouth.say)
        retries = RetryBudget(floor=inf)  # the driver keeps the run's
        self._path: Provider = wrap.asking(self._permitted, self._timed, limits, retries, self._halt, self._tail)

    async def _answer(self, lease: Lease) -> None:
        """Bring a request to its last word, and say it."""
        try:
            reply = await self._path.call(lease.request)
        except Decision as fault:
            self._mouth.say(Failed(lease.number, fault))
        except Stop:
            self._mouth.say(Failed(lease.number, None))
        except Exception as bug:  # noqa: BLE001 - a worker's bug must end the run, not hang it
            self._mouth.say(Failed(lease.number, RuntimeError(f"{type(bug).__name__} in a worker: {bug}")))
        else:
            self._mouth.say(Answered(lease.number, reply.seq, reply.number))
        finally:
            self._permitted.release(lease)
