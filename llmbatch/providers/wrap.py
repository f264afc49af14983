"""The wrappers around a provider: each the same one-method seam, each one concern. ``build`` is their order.

Retrying      the one retry loop of the program; outermost, so that a sleeping row holds no slot and no money
Hedged        near the end of a run, a call that is far too slow is asked again beside it; only with hedge = true
Recording     every call into the ledger, durable before anyone looks at it
Limited       slots, requests and tokens a minute, cool-down, breaker
Budgeted      the worst case is reserved before a call and settled after it; not while it waits for its turn
Metered       the clock of a server that is paid by the hour
Tiered        the cheaper tier, and the way back from it; only with tier = "flex" (Switched: with "auto")
Timed         one attempt's time; can be cut short when the run must end

They stand in three parts, because engines/ray puts a network between them: ``asking`` and ``sending`` are a worker's,
``accounted`` is the run's own.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Protocol

from aiolimiter import AsyncLimiter

from llmbatch.budget import Budget, HourMeter
from llmbatch.errors import Decision, ProviderDown, Refused, Rejected, StorageError
from llmbatch.halt import Halt
from llmbatch.limits import Gate, Permit, RetryBudget
from llmbatch.providers.estimate import TokenEstimate
from llmbatch.providers.hedged import Hedged, Tail
from llmbatch.providers.metered import Metered
from llmbatch.providers.retrying import Retrying
from llmbatch.providers.switch import Switch, Switched
from llmbatch.providers.tiered import Tiered
from llmbatch.providers.timed import CutShort, Timed
from llmbatch.settings import LimitSettings
from llmbatch.turns import Turns
from llmbatch.types import Attempt, Provider, Reply, Request, Usage

__all__ = ["Cost", "Cutter", "Parts", "Record", "Tail", "Timed", "build"]

#: stores an attempt, returns its place in the ledger once it is durable
Record = Callable[[Attempt, Request], Awaitable[int]]
#: dollars of (usage, returned model, returned tier); None when unknown
Cost = Callable[[Usage | None, str | None, str | None], Decimal | None]


#: Calls that may leave within so many seconds: after a pause, a thousand waiting calls do not open a thousand
#: connections in one tick. At 4,000 a second it never slows a run that flows.
_SURGE = (200, 0.05)
_LEAVE = 8  #: calls that leave in one turn of the loop: some 3 ms
#: rejected rows, and not one answered, after which a run is taken to be wrong as a whole
_HOPELESS = 50


class Cutter(Protocol):
    """What can end calls in flight."""

    def cut(self) -> None:
        """End every call in flight now."""


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
    tail: Tail = field(default_factory=Tail)  #: the engine's own; hedges wait for it
    note: Callable[[str], None] = lambda _: None  #: told what a person should know
    meter: HourMeter | None = None  #: of a server that is paid by the hour
    switch: Switch | None = None  #: the tier of the moment, with tier = "auto"


def build(provider: Provider, parts: Parts) -> tuple[Provider, Timed]:
    """The provider as the engine calls it, and the wrapper that can cut calls short."""
    inner, timed = sending(provider, parts.limits, parts.note, parts.switch)
    return asking(accounted(inner, parts), timed, parts.limits, parts.retries, parts.halt, parts.tail), timed


def asking(
    inner: Provider, timed: Timed, limits: LimitSettings, retries: RetryBudget, halt: Halt, tail: Tail
) -> Provider:
    """What asks again: a request goes in, its last word comes out."""
    if limits.hedge:
        inner = _hedged(inner, timed, limits, retries, halt, tail)
    return Retrying(inner, limits, retries, halt)


def accounted(inner: Provider, parts: Parts) -> Provider:
    """What lets calls go, and keeps what came of them."""
    if parts.meter is not None:
        inner = Metered(inner, parts.meter)
    if parts.budget is not None:
        inner = Budgeted(inner, parts.budget)
    return Recording(Limited(inner, parts.gate), parts.record, parts.cost)


def sending(
    provider: Provider, limits: LimitSettings, note: Callable[[str], None], switch: Switch | None = None
) -> tuple[Provider, Timed]:
    """What makes one call, and the wrapper that can cut it short."""
    if switch is not None:
        timed = Timed(provider, limits.timeout_s, limits.flex_timeout_s)
        return Switched(timed, switch), timed
    timed = Timed(provider, limits.attempt_s)
    return _tiered(timed, limits, note), timed


def _tiered(inner: Provider, limits: LimitSettings, note: Callable[[str], None]) -> Provider:
    if limits.tier != "flex":
        return inner
    return Tiered(inner, "flex", fallback=limits.flex_fallback, note=note)


def _hedged(
    inner: Provider, timed: Timed, limits: LimitSettings, retries: RetryBudget, halt: Halt, tail: Tail
) -> Hedged:
    hedged = Hedged(
        inner, latencies=timed.latencies, tail=tail, retries=retries, halt=halt, max_attempts=limits.max_attempts
    )
    timed.watcher = hedged  # a call is late by the time since it left, not since it began to wait for a permit
    return hedged


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
            if error.sent:
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
            model=request.model,
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
        model=request.model,
    )


class Budgeted:
    """Reserves a call's worst case. Raises BudgetReached when it does not fit and nothing in flight can free any."""

    def __init__(self, inner: Provider, budget: Budget) -> None:
        self._inner = inner
        self._budget = budget

    async def call(self, request: Request) -> Reply:
        """Reserve, ask, settle. What may have been billed without an answer stays reserved."""
        reserved = await self._budget.reserve(request)
        spent: Decimal | None = Decimal(0)  # also when the limits stop it, or its row withdraws it before it is sent
        try:
            reply = await self._inner.call(request)
            spent = self._budget.cost_of(request, reply)
        except Decision as error:
            if error.possibly_paid:
                spent = None
            raise
        finally:
            self._budget.settle(reserved, spent)
        return reply

    async def close(self) -> None:
        """Store what was spent, and close the provider."""
        with suppress(StorageError):  # whoever closes the ledger says so; what may have been spent is stored already
            await self._budget.finish()
        await self._inner.close()


class Limited:
    """Waits for a permit, and tells the limits how the call went."""

    def __init__(self, inner: Provider, gate: Gate) -> None:
        self._inner = inner
        self._gate = gate
        self._estimate = TokenEstimate()
        self._surge = AsyncLimiter(*_SURGE)
        self._turns = Turns(_LEAVE)
        self._rejected_so_far: int | None = 0  # None once a row was answered

    async def call(self, request: Request) -> Reply:
        """Wait, ask, settle. Raises ProviderDown when the provider refuses every row or stays away for too long."""
        permit = await self._admit(request)
        try:
            await self._surge.acquire()
            await self._turns.take()
            reply = await self._inner.call(request)
        except Decision as error:
            self._stop_if_hopeless(error)  # before the slot is free, because not one call more makes sense
            permit.settle(
                _seen_by_limits(error),
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
        self._rejected_so_far = None
        if usage:
            self._estimate.learn(request, usage)
        return reply

    async def _admit(self, request: Request) -> Permit:
        try:
            return await self._gate.admit(request.row_no, self._estimate.tokens(request))
        except Rejected as error:
            error.sent = False
            raise

    def _stop_if_hopeless(self, error: Decision) -> None:
        if isinstance(error, Refused):
            self._gate.close(ProviderDown(f"the provider refuses: {error.message}"))
        elif isinstance(error, Rejected) and self._rejected_so_far is not None:
            self._rejected_so_far += 1
            if self._rejected_so_far >= _HOPELESS:
                words = f"the first {_HOPELESS} answers all reject their row, the last with: {error.message}"
                hint = "mend what they name, then run it again with --retry-failed rejected,context_length"
                self._gate.close(ProviderDown(words, hint=hint))

    async def close(self) -> None:
        """Close the provider."""
        await self._inner.close()


def _seen_by_limits(error: Decision) -> str:
    if isinstance(error, CutShort) or not error.sent:
        return "cancelled"  # not the provider's fault
    return "overloaded" if error.failure == "overloaded" else error.outcome
