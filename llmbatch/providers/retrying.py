"""The one retry loop of the program: what is asked again, when, and how often."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception

from llmbatch.errors import Decision, RateLimited, Transient
from llmbatch.halt import Halt
from llmbatch.limits import RetryBudget, backoff
from llmbatch.providers.hedged import attempts_taken
from llmbatch.settings import LimitSettings
from llmbatch.types import Provider, Reply, Request

#: 429s in a row after which a row pauses by itself and makes room for others, and after which it may be given up
_FEW, _MANY = 3, 20
#: times the patience with a silent provider; longer, so that the run ends first when nobody is answered
_LONGER = 1.1


class Retrying:
    """Calls again after faults that may pass, by the policy in docs/limits.md.

    Raises the last Decision when the request's attempts are used up, or one that no retry mends; Stop when the run
    ends meanwhile.
    """

    def __init__(
        self,
        inner: Provider,
        limits: LimitSettings,
        retries: RetryBudget,
        halt: Halt,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._inner = inner
        self._most = limits.max_attempts
        self._patience_s = limits.outage_patience_s * _LONGER
        self._retries = retries
        self._halt = halt
        self._clock = clock
        self._rng = random.Random()

    async def call(self, request: Request) -> Reply:
        """Ask until there is a reply, or no sense in asking."""
        tries = _Tries(request.attempts_used)
        if not tries.used:
            self._retries.first_attempt(self._clock())

        def again(error: BaseException) -> bool:
            if isinstance(error, RateLimited):
                return tries.limited < _MANY or self._clock() - tries.limited_since < self._patience_s
            return isinstance(error, Transient) and tries.used < self._most

        def wait(_: RetryCallState) -> float:
            return self._wait(tries)

        try:
            return await self._once(request, tries)
        except Decision as fault:
            faults = [fault]
        # Only now: tenacity leaves 37 objects that refer to each other, which wait for the garbage collector.
        async for attempt in AsyncRetrying(
            retry=retry_if_exception(again), wait=wait, sleep=self._halt.sleep, reraise=True
        ):
            with attempt:
                if faults:
                    raise faults.pop()
                return await self._once(replace(request, attempts_used=tries.used), tries)
        raise AssertionError("tenacity returns or raises")

    async def close(self) -> None:
        """Close the provider."""
        await self._inner.close()

    async def _once(self, request: Request, tries: _Tries) -> Reply:
        try:
            return await self._inner.call(request)
        except Decision as fault:
            tries.add(fault, self._clock())
            raise

    def _wait(self, tries: _Tries) -> float:
        if tries.limited:  # the gate keeps the cool-down, for every row at once
            return self._rng.uniform(0, 0.1) if tries.limited <= _FEW else backoff(tries.limited - _FEW, self._rng)
        asked = tries.fault.retry_after if tries.fault else None
        pause = backoff(tries.used, self._rng) if asked is None else asked * self._rng.uniform(1, 1.1)
        return pause + self._retries.take(self._clock())


@dataclass(slots=True)
class _Tries:
    """What came of a request so far."""

    used: int  #: attempts
    limited: int = 0  #: 429s in a row
    limited_since: float = 0.0  #: when the first of them came
    fault: Decision | None = None  #: the latest

    def add(self, fault: Decision, now: float) -> None:
        """Another call failed."""
        self.fault = fault
        self.used += attempts_taken(fault)
        if not isinstance(fault, RateLimited):
            self.limited = 0
            return
        if not self.limited:
            self.limited_since = now
        self.limited += 1
