"""Stragglers at the end of a run: who is asked twice, who wins, and what is paid."""

import asyncio
import gc
import time
from dataclasses import dataclass, replace
from decimal import Decimal
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from llmbatch import ledger as ledgers
from llmbatch.budget import Budget, Cap, Caps
from llmbatch.cli.wiring import wire
from llmbatch.engines import live
from llmbatch.errors import Decision, RateLimited, StorageError, TimedOut, Transient
from llmbatch.halt import Halt
from llmbatch.ledger import Ledger
from llmbatch.limits import RetryBudget
from llmbatch.providers import hedged as module
from llmbatch.providers import wrap
from llmbatch.providers.hedged import Hedged, Tail
from llmbatch.providers.timed import Timed
from llmbatch.render import Renderer
from llmbatch.settings import LimitSettings
from llmbatch.simulator import Fault, Latency, Scenario, Server, Simulator
from llmbatch.tally import Tally
from llmbatch.types import Attempt, Provider, Reply, Request, Status, Usage
from llmbatch.validate import Judge
from tests.engines.conftest import Nights, rows
from tests.ledger.conftest import start
from tests.providers.test_contract import ask

TEXTS = [f"The harbour of town number {n} was closed for {n} days." for n in range(40)]
PRICES = {"m-1": {"input": 1000, "output": 1000}}
LAST = "number 39 "
ROW = ask().row_no


@dataclass
class Ended:
    """What a run left."""

    tally: Tally
    tail: Tail
    budget: Budget
    attempts: list[tuple[int, str, bool]]  #: number, outcome, possibly paid; of the last row, by number
    tokens: int  #: in the ledger, in and out
    took_s: float

    def done(self) -> int:
        return self.tally.rows[Status.DONE]


async def night(folder: Path, server: Simulator, **limits: Any) -> Ended:
    """One run over 40 rows with ``hedge = true``, in real time."""
    settings = {"hedge": True, "timeout_s": 30, "budget_usd": 80, **limits}
    nights = Nights(folder, server.base_url, limits=settings, prices=PRICES, params={"max_completion_tokens": 20})
    pipeline = nights.pipeline()
    tally, halt, tail, began = Tally(), Halt(), Tail(), time.monotonic()
    wired = wire(pipeline, tally, halt, None)

    def cost(usage: Usage | None, model: str | None, tier: str | None) -> Decimal | None:
        return wired.prices.cost(usage, model, tier, asked="m-1")

    async def record(attempt: Attempt, request: Request) -> int:
        tally.attempted(attempt)
        return await ledger.record(run.run_no, attempt, request, pipeline.version)

    budget = Budget(
        Caps([Cap(Decimal(80), Decimal(0))]),
        worst_case=lambda request: wired.worst_case(request) or Decimal(0),
        cost_of=lambda _, reply: cost(reply.usage, reply.model, reply.tier),
    )
    ledger = await Ledger.open(folder / "l.duckdb")
    run = await ledger.ask(lambda con: ledgers.begin(con, start(total=len(TEXTS))))
    provider, _ = wrap.build(
        wired.lanes[0].raw,
        wrap.Parts(pipeline.settings.limits, wired.lanes[0].gate, RetryBudget(), budget, halt, record, cost, tail),
    )
    most = pipeline.settings.limits.max_attempts
    judge = Judge(pipeline.schema, None)
    await live.answer(
        live.Engine(ledger, run, Renderer(pipeline), judge, provider, tally, halt, most, tail=tail), rows(TEXTS)
    )
    took = time.monotonic() - began
    await provider.close()
    attempts = await ledger.ask(lambda con: con.execute(_ATTEMPTS).fetchall())
    [(tokens,)] = await ledger.ask(lambda con: con.execute(_TOKENS).fetchall())
    await ledger.close()
    assert wired.lanes[0].gate.in_flight == wired.lanes[0].gate.waiting == budget.reserved == 0
    return Ended(tally, tail, budget, attempts, int(tokens), took)


_ATTEMPTS = "select number, outcome, possibly_paid from attempts where row_no = 39 order by number"
_TOKENS = "select sum(input_tokens + output_tokens) from attempts"


def scenario(*faults: Fault, latency_ms: float = 0) -> Scenario:
    return Scenario(fault=faults, server=Server(brain="echo"), latency=Latency(median_ms=latency_ms))


def assert_reconciled(ended: Ended, server: Simulator) -> None:
    """Server (closed, so that its account is complete), ledger, tally and budget tell the same story."""
    total = server.account.total
    dollars = total.dollars(Decimal(1000), Decimal(1000))
    assert ended.tally.sent == total.requests
    assert ended.tokens == total.input + total.output
    assert ended.tally.cost_usd == dollars
    assert (ended.budget.spent > dollars) == (ended.tally.possibly_paid > 0)


async def test_the_last_row_is_answered_by_its_hedge(tmp_path: Path) -> None:
    async with Simulator(scenario(Fault(kind="hang", match=LAST, times=1))) as server:
        ended = await night(tmp_path, server)
    assert_reconciled(ended, server)
    assert server.account.total.requests == 41
    assert ended.done() == 40
    assert ended.took_s < 5, "the time of one attempt is 30 s"
    assert ended.tail.hedges == 1
    assert ended.attempts == [(1, "timeout", True), (2, "answered", False)]


async def test_it_is_off_unless_told(tmp_path: Path) -> None:
    assert LimitSettings().hedge is False
    async with Simulator(scenario(Fault(kind="hang", seconds=1.6, match=LAST, times=1))) as server:
        ended = await night(tmp_path, server, hedge=False)
    assert server.account.total.requests == 40
    assert ended.tail.begun
    assert ended.tail.hedges == 0
    assert ended.attempts == [(1, "answered", False)]


async def test_the_slower_hedge_is_cut_short(tmp_path: Path) -> None:
    faults = Fault(kind="hang", seconds=1.6, match=LAST, times=1), Fault(kind="hang", match=LAST)
    async with Simulator(scenario(*faults)) as server:
        ended = await night(tmp_path, server)
    assert_reconciled(ended, server)
    assert ended.done() == 40
    assert ended.took_s < 5
    assert ended.attempts == [(1, "answered", False), (2, "timeout", True)]


async def test_a_hedge_that_fails_leaves_the_row_to_the_first_call(tmp_path: Path) -> None:
    faults = Fault(kind="hang", seconds=1.8, match=LAST, times=1), Fault(kind="server_error", match=LAST, times=2)
    async with Simulator(scenario(*faults)) as server:
        ended = await night(tmp_path, server)
    assert_reconciled(ended, server)
    assert ended.done() == 40
    assert ended.attempts == [(1, "answered", False), (2, "transient", False)]


async def test_when_both_fail_the_row_goes_on_with_the_attempts_that_are_left(tmp_path: Path) -> None:
    async with Simulator(scenario(Fault(kind="hang", match=LAST))) as server:
        ended = await night(tmp_path, server, timeout_s=1.4, max_attempts=4)
    assert_reconciled(ended, server)
    assert server.account.total.requests == 39 + 4
    assert ended.tally.failures == {"timeout": 1}
    assert ended.tail.hedges == 1, "at most one a row, however often it is tried again"
    assert ended.attempts == [(number, "timeout", True) for number in (1, 2, 3, 4)]


async def test_the_last_attempt_is_never_hedged(tmp_path: Path) -> None:
    async with Simulator(scenario(Fault(kind="hang", seconds=1.6, match=LAST, times=1))) as server:
        ended = await night(tmp_path, server, max_attempts=1)
    assert_reconciled(ended, server)
    assert server.account.total.requests == 40
    assert ended.tail.hedges == 0


async def test_a_hedge_that_gets_no_permit_is_never_sent_and_costs_nothing(tmp_path: Path) -> None:
    async with Simulator(scenario(Fault(kind="hang", seconds=1.8, match=LAST, times=1))) as server:
        ended = await night(tmp_path, server, concurrency=1)
    assert_reconciled(ended, server)
    assert server.account.total.requests == 40
    assert ended.tail.hedges == 0
    assert ended.attempts == [(1, "answered", False)]


async def test_waiting_for_a_permit_is_not_being_late(tmp_path: Path) -> None:
    async with Simulator(scenario(latency_ms=250)) as server:
        ended = await night(tmp_path, server, concurrency=5)
    assert server.account.total.requests == 40
    assert ended.took_s > 2, "rows wait for longer than a call may take"
    assert ended.tail.hedges == 0


# --- the race itself -----------------------------------------------------------------------------------------------


class Racers:
    """A provider whose calls, by attempt, take so many seconds and end so."""

    def __init__(self, *ends: tuple[float, Decision | None]) -> None:
        self.ends = ends

    async def call(self, request: Request) -> Reply:
        seconds, fault = self.ends[request.attempts_used] if request.row_no == ROW else (0.0, None)
        await asyncio.sleep(seconds)
        if fault is not None:
            raise fault
        return Reply("{}", str(request.attempts_used + 1), None, None, None, None, None)

    async def close(self) -> None: ...


class TooLateToCut(Racers):
    """The first call's reply is there at the moment when it is to be cut short."""

    async def call(self, request: Request) -> Reply:
        try:
            return await super().call(request)
        except asyncio.CancelledError:
            return Reply("{}", "1", None, None, None, None, None)


class Within:
    """What lies between the hedger and the provider: row 8 waits for its permit, and whatever ends is stored in 20 ms,
    unless the disk is full when attempt number ``full_at`` ends."""

    def __init__(self, inner: Provider, full_at: int | None) -> None:
        self.inner, self.full_at = inner, full_at
        self.seqs = count(1)
        self.permit = asyncio.Event()

    async def call(self, request: Request) -> Reply:
        if request.row_no == 8:
            await self.permit.wait()
        try:
            reply = await self.inner.call(request)
        except Decision:
            await self._store(request)
            raise
        return replace(reply, seq=await self._store(request), number=request.attempts_used + 1)

    async def _store(self, request: Request) -> int:
        seq = next(self.seqs)
        await asyncio.sleep(0.02)
        if request.attempts_used + 1 == self.full_at:
            raise StorageError("the disk is full")
        return seq

    async def close(self) -> None: ...


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SHORTEST_S", 0.05)
    monkeypatch.setattr(module, "_LOOK_S", 0.01)


async def hedging(racers: Racers, *, full_at: int | None = None) -> tuple[Provider, asyncio.Event]:
    """A hedger in the tail of a run that has seen enough, and the permit of row 8."""
    timed, tail = Timed(racers, timeout_s=5), Tail()
    within = Within(timed, full_at)
    hedged = Hedged(within, latencies=timed.latencies, tail=tail, retries=RetryBudget(), halt=Halt(), max_attempts=4)
    timed.watcher = hedged
    await asyncio.gather(*(hedged.call(replace(ask(), key=f"{n:064x}", row_no=0)) for n in range(20)))
    tail.begin()
    return hedged, within.permit


@pytest.mark.usefixtures("quick")
async def test_when_both_reply_the_order_of_the_ledger_decides() -> None:
    hedged, _ = await hedging(TooLateToCut((5, None), (0.1, None)))
    reply = await hedged.call(ask())
    assert (reply.text, reply.number) == ("2", 2)


@pytest.mark.usefixtures("quick")
async def test_rows_that_wait_for_their_turn_go_before_hedges() -> None:
    hedged, permit = await hedging(Racers((0.3, None), (0, None)))
    waiting = asyncio.create_task(hedged.call(replace(ask(), key="f" * 64, row_no=8)))
    assert (await hedged.call(ask())).text == "1"
    permit.set()
    await waiting
    assert (await hedged.call(ask())).text == "2"


@pytest.mark.usefixtures("quick")
async def test_a_first_reply_says_that_two_attempts_are_used() -> None:
    hedged, _ = await hedging(Racers((0.2, None), (5, None)))
    reply = await hedged.call(ask())
    assert (reply.text, reply.number) == ("1", 2)


@pytest.mark.usefixtures("quick")
async def test_a_hedge_that_was_rate_limited_used_no_attempt() -> None:
    hedged, _ = await hedging(Racers((0.2, None), (0, RateLimited("later"))))
    assert (await hedged.call(ask())).number == 1


@pytest.mark.usefixtures("quick")
async def test_when_both_fail_it_is_the_first_fault_that_counts() -> None:
    first, second = Transient("first"), TimedOut("second")
    hedged, _ = await hedging(Racers((0.2, first), (0.3, second)))
    with pytest.raises(Transient) as caught:
        await hedged.call(ask())
    assert caught.value is first
    assert caught.value.__cause__ is second


@pytest.mark.usefixtures("quick")
async def test_a_call_that_fails_waits_for_its_hedge() -> None:
    hedged, _ = await hedging(Racers((0.2, Transient("first")), (0.3, None)))
    assert (await hedged.call(ask())).text == "2"


@pytest.mark.usefixtures("quick")
async def test_a_reply_that_could_not_be_stored_is_never_passed_over() -> None:
    hedged, _ = await hedging(Racers((5, None), (0.1, None)), full_at=2)
    with pytest.raises(StorageError, match="full"):
        await hedged.call(ask())


async def cancel(racers: Racers, after_s: float) -> None:
    """Cancel a row in the middle of its race."""
    hedged, _ = await hedging(racers, full_at=2)
    row = asyncio.create_task(hedged.call(ask()))
    await asyncio.sleep(after_s)
    row.cancel()
    await asyncio.wait((row,))
    assert row.cancelled() or isinstance(row.exception(), StorageError)
    await hedged.close()


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(("hedge_s", "fails"), [(5, False), (0.03, True), (0.03, False)])
@pytest.mark.parametrize("after_s", [0.02, 0.09, 0.2])
async def test_a_cancelled_row_leaves_nothing_behind(after_s: float, hedge_s: float, fails: bool) -> None:
    lost: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: lost.append(context))
    await cancel(Racers((5, None), (hedge_s, Transient("second") if fails else None)), after_s)
    assert asyncio.all_tasks() == {asyncio.current_task()}
    gc.collect()
    assert lost == []
