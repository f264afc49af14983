"""Where every call waits its turn: one queue in order of arrival, before slots, requests and tokens a minute.

Nothing is taken while something else is waited for: a call is admitted at the one moment when all of it is there. So a
pause cannot pile up permits that then leave in a burst, and no slot looks used because a call waits for its tokens.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from math import inf
from types import MappingProxyType

from llmbatch.errors import NextTier, ProviderDown, Rejected, Stop, StorageError
from llmbatch.limits.calls import Admitted, Ended
from llmbatch.limits.changes import Change, Changes
from llmbatch.limits.flow import Flow
from llmbatch.limits.state import LimitState
from llmbatch.settings import LimitSettings

_SHORTEST_S = 0.001  #: of a timer: uvloop rounds to this
_NO_HEADERS: Mapping[str, str] = MappingProxyType({})


class Permit:
    """The right to make one call. Settle it exactly once, whatever happens."""

    __slots__ = ("_call", "_gate")

    def __init__(self, gate: Gate, call: Admitted) -> None:
        self._gate: Gate | None = gate
        self._call = call

    def settle(
        self,
        outcome: str,
        *,
        tokens: int | None = None,
        headers: Mapping[str, str] = _NO_HEADERS,
        latency_s: float = 0.0,
        retry_after: float | None = None,
        output_tokens: int | None = None,
    ) -> None:
        """Tell how the call went, and free its slot. The parameters are those of :class:`Ended`."""
        gate, self._gate = self._gate, None
        assert gate is not None, "a permit is settled once"
        gate._settle(self._call, Ended(outcome, tokens, headers, latency_s, retry_after, output_tokens))


class _Waiter:
    __slots__ = ("future", "row_no", "tokens")

    def __init__(self, future: asyncio.Future[Admitted], row_no: int, tokens: int) -> None:
        self.future = future
        self.row_no = row_no
        self.tokens = tokens


class Gate:
    """Admits calls in order of arrival, each as soon as every limit lets it. A probe of a provider is any of them.

    Args:
        settings: [limits] of the pipeline.
        clock: seconds that never go back.
        rng: of the jitter.
        on_change: told of every change and pause as a line of text.
        model: whose limits they are, where several models are asked.
    """

    def __init__(
        self,
        settings: LimitSettings,
        *,
        clock: Callable[[], float] = time.monotonic,
        rng: random.Random | None = None,
        on_change: Callable[[str], None] | None = None,
        model: str | None = None,
    ) -> None:
        self._clock = clock
        self._changes = Changes(clock(), on_change, model)
        self._rng = rng or random.Random()
        self._flow = Flow(settings, self._rng, self._changes, clock())
        self._patience_s = settings.outage_patience_s
        self._queue: deque[_Waiter] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = inf
        self._reason: Stop | StorageError | None = None

    @property
    def in_flight(self) -> int:
        """Calls admitted and not settled."""
        return self._flow.in_flight

    @property
    def waiting(self) -> int:
        """Calls in the queue."""
        return sum(not waiter.future.done() for waiter in self._queue)

    @property
    def concurrency(self) -> int:
        """Calls that may be in flight now."""
        return self._flow.slots.limit

    def state(self) -> LimitState:
        """What the limits do now; any thread may ask."""
        return self._flow.state(self._clock())

    @property
    def changes(self) -> Sequence[Change]:
        """What the limits did, oldest first; the latest 200."""
        return self._changes.list()

    async def admit(self, row_no: int, tokens: int) -> Permit:
        """Wait for a permit for one call that will use about ``tokens``, in and out.

        Raises:
            Rejected: it needs more tokens than a minute has (failure ``too_many_tokens``).
            ProviderDown: the provider has answered nothing for ``outage_patience_s``.
            Stop, StorageError: the reason given to ``close``.
        """
        now = self._clock()
        if not self._queue:
            if (fault := self._fault(tokens, now)) is not None:
                raise fault
            if self._flow.wait(tokens, now) <= 0:
                return Permit(self, self._flow.admit(row_no, tokens, now))
        waiter = _Waiter(asyncio.get_running_loop().create_future(), row_no, tokens)
        self._stand(waiter)
        if self._queue[0] is waiter:
            self._pump()
        try:
            return Permit(self, await waiter.future)
        except asyncio.CancelledError:
            self._leave(waiter.future)
            raise

    def close(self, reason: Stop | StorageError) -> None:
        """Admit nothing more: whoever waits, and whoever comes, gets ``reason``. What is in flight may settle."""
        self._reason = self._reason or reason
        self._pump()

    def reopen(self) -> None:
        """Admit calls again, if it was closed for another tier's sake only."""
        if isinstance(self._reason, NextTier):
            self._reason = None

    def _stand(self, waiter: _Waiter) -> None:
        """Last in the queue; first, for a row that a 429 sent back, unless the row itself may be to blame."""
        if self._flow.keeps_place(waiter.row_no):
            self._queue.appendleft(waiter)
        else:
            self._queue.append(waiter)

    def _settle(self, call: Admitted, ended: Ended) -> None:
        self._flow.settle(call, ended, self._clock())
        if self._queue:
            self._pump()

    def _leave(self, future: asyncio.Future[Admitted]) -> None:
        """A waiter was cancelled, perhaps just after it was let go."""
        if future.done() and not future.cancelled() and future.exception() is None:
            self._flow.give_back(future.result(), self._clock())
        self._pump()

    def _pump(self) -> None:
        """Let go whoever may go, from the head of the queue; then set the timer for the next."""
        now = self._clock()
        if self._flow.probing and len(self._queue) > 1:
            self._draw()
        while self._queue:
            waiter = self._queue[0]
            if not waiter.future.done():
                if (fault := self._fault(waiter.tokens, now)) is not None:
                    waiter.future.set_exception(fault)
                elif (wait := self._flow.wait(waiter.tokens, now)) > 0:
                    self._wake(now, wait)
                    return
                else:
                    waiter.future.set_result(self._flow.admit(waiter.row_no, waiter.tokens, now))
            self._queue.popleft()

    def _draw(self) -> None:
        """Move any waiter to the head, for a probe: those who stand there may all be rows that fail by themselves."""
        drawn = self._rng.randrange(len(self._queue))
        waiter = self._queue[drawn]
        del self._queue[drawn]
        self._queue.appendleft(waiter)

    def _fault(self, tokens: int, now: float) -> Rejected | Stop | StorageError | None:
        """Why a call cannot go at all."""
        if self._reason is None and (silent := self._flow.silent_s(now)) and silent >= self._patience_s:
            self._reason = ProviderDown(f"the provider has answered nothing for {silent:.0f} s")
        if self._reason is not None:
            return self._reason
        unfit = self._flow.unfit(tokens)
        return None if unfit is None else Rejected(unfit, failure="too_many_tokens")

    def _wake(self, now: float, wait: float) -> None:
        """Look again after ``wait`` seconds, or when the patience is over."""
        if silent := self._flow.silent_s(now):
            wait = min(wait, self._patience_s - silent)
        if self._timer is not None:
            if self._timer_at <= now + wait:
                return  # it looks early, and sets the timer again
            self._timer.cancel()
            self._timer = None
        if wait < inf:
            self._timer_at = now + wait
            self._timer = asyncio.get_running_loop().call_later(max(wait, _SHORTEST_S), self._ring)

    def _ring(self) -> None:
        self._timer, self._timer_at = None, inf
        self._pump()
