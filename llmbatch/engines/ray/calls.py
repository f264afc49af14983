"""What the driver knows of requests and calls that workers make."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import Protocol

from llmbatch.engines.ray.messages import Name, ToWorker
from llmbatch.errors import Decision, RateLimited, Stop, StorageError
from llmbatch.providers.timed import CutShort
from llmbatch.types import Reply, Request


class Lost(CutShort):
    """A worker died with a call on its way; the provider may bill it."""

    outcome = "transient"
    failure = "connection"


class Unsent(CutShort):
    """A call was let go, and never left: nothing of it is recorded, and its reserve comes back."""

    sent = False


class Speaker(Protocol):
    """Who tells a worker something."""

    def say(self, message: ToWorker, lets_go: Call | None = None) -> None:
        """Say it with the next words; after that, the call counts as told of."""


@dataclass(slots=True, eq=False)
class Open:
    """A request from the engine's question to its last word, or until its worker is lost."""

    request: Request
    done: asyncio.Future[Reply]
    used: int  #: attempts that are known to be used
    begun: int  #: attempts used before the latest call that was asked for
    worker: Speaker | None = None  #: None until it is leased
    number: int = 0  #: with that worker
    fault: Decision | None = None  #: the latest
    calls: dict[int, Call] = field(default_factory=dict)  #: by attempts used before it; two while one is hedged
    replies: dict[int, Reply] = field(default_factory=dict)  #: stored ones, by ``seq``
    stop: Stop | StorageError | None = None  #: why it ends without a word

    @classmethod
    def of(cls, request: Request) -> Open:
        """A request that nothing was done for yet."""
        return cls(request, asyncio.get_running_loop().create_future(), request.attempts_used, request.attempts_used)

    def stored(self, attempts: int, came: Reply | Decision) -> None:
        """What came of a call is durable; ``attempts`` counts that call."""
        if isinstance(came, Reply):
            self.replies[came.seq] = came
        else:
            self.fault = came
        if not isinstance(came, RateLimited):
            self.used = max(self.used, attempts)

    def end(self, came: Reply | BaseException) -> None:
        """Its last word; later ones count for nothing."""
        if self.done.done():
            return
        if isinstance(came, BaseException):
            self.done.set_exception(came)
        else:
            self.done.set_result(came)


@dataclass(slots=True, eq=False)
class Call:
    """One call of a request: from the wish to make it until what came of it is stored."""

    opened: Open
    request: Request  #: with the attempts used before it
    ended: asyncio.Future[Reply]
    task: asyncio.Task[None] | None = None  #: takes it through limits and ledger
    let_go_at: float | None = None  #: seconds of ``time.monotonic``; None while it waits
    told: bool = False  #: the worker may have heard that it may go

    @property
    def name(self) -> Name:
        """What worker and driver call it."""
        return self.opened.number, self.request.attempts_used

    def end(self, came: Reply | Decision) -> None:
        """What came of it."""
        if self.ended.done():
            return
        if isinstance(came, Decision):
            self.ended.set_exception(came)
        else:
            self.ended.set_result(came)

    def withdraw(self) -> None:
        """It will not be made after all."""
        if self.let_go_at is None:
            assert self.task is not None
            self.task.cancel()
        else:
            self.end(Unsent("withdrawn before it was sent"))

    def lose(self, why: str) -> None:
        """Its worker is no more."""
        if self.let_go_at is None or not self.told:
            self.withdraw()
        else:
            took = time.monotonic() - self.let_go_at
            self.end(Lost(f"the worker is gone: {why}", latency_s=took, possibly_paid=True))
