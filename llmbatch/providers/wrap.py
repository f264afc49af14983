"""The wrappers around a provider: each the same one-method seam, each one concern. ``build`` is their order.

Retrying      the one retry loop of the program; outermost, so that a sleeping row holds no slot and no money
Recording     every call into the ledger, durable before anyone looks at it
Budgeted      the worst case is reserved before a call and settled after it
Limited       slots, requests and tokens a minute, cool-down, breaker
Timed         one attempt's time; can be cut short when the run must end
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from decimal import Decimal

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception

from llmbatch.budget import Budget
from llmbatch.errors import Decision, ProviderDown, RateLimited, Refused, TimedOut, Transient
from llmbatch.halt import Halt
from llmbatch.limits import Gate, RetryBudget, backoff
from llmbatch.settings import LimitSettings
from llmbatch.types import Attempt, Provider, Reply, Request, Usage

#: stores an attempt, returns its place in the ledger once it is durable
Record = Callable[[Attempt, Request], Awaitable[int]]
#: dollars of (usage, returned model, returned tier); None when unknown
Cost = Callable[[Usage | None, str | None, str | None], Decimal | None]


@dataclass(frozen=True, slots=True)
class Parts:
    """What the wrappers work with."""

    limits: LimitSettings
    gate: Gate
    retries: RetryBudget
    budget: Budget | None
    halt: Halt
    record: Record
    cost: Cost


def build(provider: Provider, parts: Parts) -> tuple[Provider, Timed]:
    """The provider as the engine calls it, and the wrapper that can cut calls short."""
    timed = Timed(provider, parts.limits.timeout_s)
    limited = Limited(timed, parts.gate)
    budgeted = Budgeted(limited, parts.budget) if parts.budget is not None else limited
    recording = Recording(budgeted, parts.record, parts.cost)
    return Retrying(recording, parts), timed


class Retrying:
    """Calls again after faults that may pass, by the policy in docs/limits.md.

    Raises the last Decision when the request's attempts are used up, or one that no retry mends; Stop when the run
    ends meanwhile.
    """

    def __init__(self, inner: Provider, parts: Parts) -> None:
        self._inner = inner
        self._most = parts.limits.max_attempts
        self._retries = parts.retries
        self._halt = parts.halt
        self._rng = random.Random()

    async def call(self, request: Request) -> Reply:
        """Ask until there is a reply, or no sense in asking."""
        used = request.attempts_used
        self._retries.first_attempt(time.monotonic())

        def again(error: BaseException) -> bool:
            return isinstance(error, RateLimited) or (isinstance(error, Transient) and used < self._most)

        async for attempt in AsyncRetrying(
            retry=retry_if_exception(again), wait=self._wait, sleep=self._halt.sleep, reraise=True
        ):
            with attempt:
                try:
                    return await self._inner.call(replace(request, attempts_used=used) if used else request)
                except Transient:
                    used += 1  # waiting out a 429 is no attempt
                    raise
        raise AssertionError("tenacity returns or raises")

    async def close(self) -> None:
        """Close the provider."""
        await self._inner.close()

    def _wait(self, state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        asked = error.retry_after if isinstance(error, Decision) else None
        if isinstance(error, RateLimited):
            return self._rng.uniform(0, 0.1)  # the gate keeps the cool-down, for every row at once
        pause = backoff(state.attempt_number, self._rng) if asked is None else asked * self._rng.uniform(1, 1.1)
        return pause + self._retries.take(time.monotonic())


class Recording:
    """Stores every call, with its cost. A reply is durable before it goes on."""

    def __init__(self, inner: Provider, record: Record, cost: Cost) -> None:
        self._inner = inner
        self._record = record
        self._cost = cost

    async def call(self, request: Request) -> Reply:
        """Ask, store, hand on."""
        number = request.attempts_used + 1
        try:
            reply = await self._inner.call(request)
        except Decision as error:
            await self._record(_of_decision(request, number, error), request)
            raise
        cost = self._cost(reply.usage, reply.model, reply.tier)
        attempt = Attempt(
            key=request.key,
            row_no=request.row_no,
            number=number,
            asked_at=time.time() - reply.latency_s,
            latency_s=reply.latency_s,
            outcome="answered",
            http_status=reply.http_status,
            reason=None,
            failure=None,
            reply=reply,
            cost_usd=cost,
        )
        seq = await self._record(attempt, request)
        return replace(reply, number=number, seq=seq, cost_usd=cost)

    async def close(self) -> None:
        """Close the provider."""
        await self._inner.close()


def _of_decision(request: Request, number: int, error: Decision) -> Attempt:
    return Attempt(
        key=request.key,
        row_no=request.row_no,
        number=number,
        asked_at=time.time() - error.latency_s,
        latency_s=error.latency_s,
        outcome=error.outcome,
        http_status=error.http_status,
        reason=error.message,
        failure=error.failure,
        reply=None,
        cost_usd=None,
        possibly_paid=error.possibly_paid,
    )


class Budgeted:
    """Reserves a call's worst case. Raises BudgetReached when it does not fit and nothing in flight can free any."""

    def __init__(self, inner: Provider, budget: Budget) -> None:
        self._inner = inner
        self._budget = budget

    async def call(self, request: Request) -> Reply:
        """Reserve, ask, settle. What may have been billed without an answer stays reserved."""
        reserved = await self._budget.reserve(request)
        spent: Decimal | None = None
        try:
            reply = await self._inner.call(request)
            spent = self._budget.cost_of(reply)
        except Decision as error:
            if not error.possibly_paid:
                spent = Decimal(0)
            raise
        finally:
            self._budget.settle(reserved, spent)
        return reply

    async def close(self) -> None:
        """Close the provider."""
        await self._inner.close()


class Limited:
    """Waits for a permit, and tells the limits how the call went."""

    def __init__(self, inner: Provider, gate: Gate) -> None:
        self._inner = inner
        self._gate = gate
        self._estimate = TokenEstimate()

    async def call(self, request: Request) -> Reply:
        """Wait, ask, settle. Raises ProviderDown when the provider refuses every row or stays away for too long."""
        permit = await self._gate.admit(request.row_no, self._estimate.tokens(request))
        try:
            reply = await self._inner.call(request)
        except Decision as error:
            if isinstance(error, Refused):  # before the slot is free, because not one call more makes sense
                self._gate.close(ProviderDown(f"the provider refuses: {error.message}"))
            permit.settle(
                "overloaded" if error.failure == "overloaded" else error.outcome,
                headers=error.headers,
                latency_s=error.latency_s,
                retry_after=error.retry_after,
            )
            raise
        except BaseException:
            permit.settle("cancelled")
            raise
        usage = reply.usage
        permit.settle(
            "answered",
            tokens=usage.input + usage.output if usage else None,
            headers=reply.headers,
            latency_s=reply.latency_s,
            output_tokens=usage.output if usage else None,
        )
        if usage:
            self._estimate.learn(request, usage)
        return reply

    async def close(self) -> None:
        """Close the provider."""
        await self._inner.close()


class TokenEstimate:
    """What a call will use of the tokens a minute: its bytes by a ratio, its output by an average, both learned."""

    def __init__(self) -> None:
        self._tokens_per_byte = 0.3
        self._output: float | None = None

    def tokens(self, request: Request) -> int:
        """Estimated tokens of the next call for a request, in and out."""
        output = self._output
        if output is None:
            output = float(request.params.get("max_completion_tokens") or request.params.get("max_tokens") or 256)
        return max(1, round(_size(request) * self._tokens_per_byte + output))

    def learn(self, request: Request, usage: Usage) -> None:
        """Move the averages a little towards what came back."""
        ratio = usage.input / max(_size(request), 1)
        self._tokens_per_byte += 0.05 * (ratio - self._tokens_per_byte)
        self._output = usage.output if self._output is None else self._output + 0.05 * (usage.output - self._output)


def _size(request: Request) -> int:
    return sum(len(m["content"].encode()) for m in (*request.messages, *request.turns))


class Timed:
    """Ends an attempt after ``timeout_s``; ``cut`` ends all of them at once. Raises TimedOut."""

    def __init__(self, inner: Provider, timeout_s: float) -> None:
        self._inner = inner
        self._timeout_s = timeout_s
        self._running: set[asyncio.Timeout] = set()

    async def call(self, request: Request) -> Reply:
        """Ask, within the time."""
        started = time.monotonic()
        limit = asyncio.timeout(self._timeout_s)
        try:
            async with limit:
                self._running.add(limit)
                return await self._inner.call(request)
        except TimeoutError:
            took = time.monotonic() - started
            raise TimedOut(f"no whole answer in {took:.1f} s", latency_s=took, possibly_paid=True) from None
        finally:
            self._running.discard(limit)

    def cut(self) -> None:
        """End every call in flight now; each is recorded as timed out and possibly paid."""
        now = asyncio.get_running_loop().time()
        for limit in self._running:
            limit.reschedule(now)

    async def close(self) -> None:
        """Close the provider."""
        await self._inner.close()
