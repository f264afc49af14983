import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmbatch.budget import Budget, Cap, Caps, HourMeter, day_of, month_of
from llmbatch.errors import BudgetReached, Exit, Interrupted, StorageError
from llmbatch.types import Request


def request(cents: int) -> Request:
    return Request("k", cents, "m", (), {}, {})


def budget(cap: str, spent: str = "0", store: Callable[[Decimal], Awaitable[None]] | None = None) -> Budget:
    return Budget(
        Caps([Cap(Decimal(cap), Decimal(spent))]),
        worst_case=lambda r: Decimal(r.row_no) / 100,
        cost_of=lambda _, reply: reply.cost_usd,
        store=store,
    )


async def test_a_reserve_that_cannot_fit_any_more_ends_the_run() -> None:
    b = budget("1.00", spent="0.95")
    with pytest.raises(BudgetReached, match=r"\$0.9500 of \$1.00 spent") as caught:
        await b.reserve(request(6))
    assert caught.value.exit_code == 4
    assert await b.reserve(request(5)) == Decimal("0.05")


async def test_it_waits_for_settlements_before_it_gives_up() -> None:
    b = budget("1.00")
    first = await b.reserve(request(90))
    waiting = asyncio.create_task(b.reserve(request(50)))
    await asyncio.sleep(0)
    assert not waiting.done()
    b.settle(first, Decimal("0.10"))
    assert await waiting == Decimal("0.5")
    assert b.spent + b.reserved == Decimal("0.60")


async def test_what_may_have_been_billed_stays_spent() -> None:
    b = budget("1.00")
    b.settle(await b.reserve(request(60)), None)
    assert b.spent == Decimal("0.60")
    with pytest.raises(BudgetReached):
        await b.reserve(request(50))


async def test_waiters_hear_why_the_run_stops() -> None:
    b = budget("1.00")
    await b.reserve(request(90))
    waiting = asyncio.create_task(b.reserve(request(50)))
    await asyncio.sleep(0)
    b.close(Interrupted(Exit.SIGTERM))
    with pytest.raises(Interrupted):
        await waiting


async def test_what_may_be_spent_is_stored_before_it_can_be() -> None:
    stored: list[Decimal] = []

    async def store(usd: Decimal) -> None:
        await asyncio.sleep(0)
        stored.append(usd)

    b = budget("10.00", store=store)
    reserves = await asyncio.gather(*(b.reserve(request(5)) for _ in range(4)))
    assert stored[-1] >= Decimal("0.20")
    for reserved in reserves:
        b.settle(reserved, Decimal("0.01"))
    draws = len(stored)
    b.settle(await b.reserve(request(5)), None)  # within what was drawn
    assert len(stored) == draws
    assert all(usd <= 10 for usd in stored)
    await b.finish()
    assert stored[-1] == b.spent == Decimal("0.09")


async def test_what_the_batches_of_a_run_cost_is_in_its_draws() -> None:
    """The ledger takes the run's bill, batches in it, off the last draw: the rest is what a kill left in flight."""
    stored: list[Decimal] = []

    async def store(usd: Decimal) -> None:
        stored.append(usd)

    caps = Caps([Cap(Decimal(10), Decimal(0))])
    b = Budget(caps, worst_case=lambda _: Decimal(1), cost_of=lambda _, reply: reply.cost_usd, store=store)
    await b.reserve(request(1))
    caps.add(Decimal(4), by_batches=True)
    caps.held = Decimal(2)
    assert caps.left == 4
    await b.reserve(request(1))
    assert stored[-1] >= 4 + 2 + 2


async def test_a_call_does_not_go_when_its_draw_cannot_be_stored() -> None:
    async def store(usd: Decimal) -> None:
        raise StorageError("disk full")

    b = budget("1.00", store=store)
    with pytest.raises(StorageError):
        await b.reserve(request(5))
    assert b.reserved == b.spent == 0


async def test_a_call_dearer_than_its_worst_case_makes_later_reserves_larger() -> None:
    b = budget("1.00")
    b.settle(await b.reserve(request(10)), Decimal("0.30"))
    assert await b.reserve(request(10)) == Decimal("0.30")
    b.settle(Decimal("0.30"), Decimal("0.30"))
    with pytest.raises(BudgetReached):
        await b.reserve(request(20))


async def test_the_tightest_cap_holds_and_says_so() -> None:
    day = Cap(Decimal(1), Decimal("0.95"), "budget of the day", "tomorrow")
    b = Budget(
        Caps([Cap(Decimal(5), Decimal(0)), day]), worst_case=lambda _: Decimal("0.06"), cost_of=lambda _, r: r.cost_usd
    )
    with pytest.raises(BudgetReached, match=r"budget of the day reached: \$0.9500 of \$1 spent") as caught:
        await b.reserve(request(1))
    assert caught.value.hint == "tomorrow"


async def test_a_day_that_ends_during_the_run_frees_its_cap() -> None:
    clock = [1_000.0]
    day = Cap(Decimal(1), Decimal("0.95"), span_of=lambda now: (now, now + 100), ends_at=1_050)
    b = Budget(Caps([day], lambda: clock[0]), worst_case=lambda _: Decimal("0.06"), cost_of=lambda _, r: r.cost_usd)
    with pytest.raises(BudgetReached):
        await b.reserve(request(1))
    clock[0] = 1_050
    assert await b.reserve(request(1)) == Decimal("0.06")
    assert day.ends_at == 1_150


@pytest.mark.parametrize(
    ("zone", "moment", "day", "month"),
    [
        ("UTC", "2026-12-31T23:59:59+00:00", ("12-31T00", "01-01T00"), ("12-01T00", "01-01T00")),
        ("Europe/Berlin", "2026-03-29T12:00:00+02:00", ("03-28T23", "03-29T22"), ("02-28T23", "03-31T22")),  # 23 hours
        ("Europe/Berlin", "2026-10-25T12:00:00+01:00", ("10-24T22", "10-25T23"), ("09-30T22", "10-31T23")),  # 25 hours
        ("America/New_York", "2026-11-30T01:00:00+00:00", ("11-29T05", "11-30T05"), ("11-01T04", "12-01T05")),
    ],
)
def test_days_and_months_are_those_of_the_machines_time_zone(
    monkeypatch: pytest.MonkeyPatch, zone: str, moment: str, day: tuple[str, str], month: tuple[str, str]
) -> None:
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        now = datetime.fromisoformat(moment).timestamp()
        for span, expected in ((day_of(now), day), (month_of(now), month)):
            assert tuple(datetime.fromtimestamp(t, UTC).strftime("%m-%dT%H") for t in span) == expected
            assert span[0] <= now < span[1]
    finally:
        monkeypatch.undo()
        time.tzset()


def test_hours_are_carried_by_the_answers() -> None:
    """Whatever the order of calls and answers, the answers add up to the time from the first call to the last."""
    clock = [10**9]
    meter = HourMeter(Decimal(36), longest_s=60, clock=lambda: clock[0])
    assert meter.due == 0
    charges = []
    for seconds, answered in ((0, False), (2, True), (0.5, True), (10, False), (1, True)):
        clock[0] += int(seconds * 1e9)
        meter.begin()
        if answered:
            charges.append(meter.charge())
    assert charges == [Decimal("0.02"), Decimal("0.005"), Decimal("0.11")]
    assert sum(charges) == Decimal(36) * Decimal("13.5") / 3600


def test_hours_stop_before_the_cap() -> None:
    clock = [0]
    caps = Caps([Cap(Decimal("0.50"), Decimal("0.10"))])
    meter = HourMeter(Decimal(36), caps, longest_s=20, clock=lambda: clock[0])  # a cent a second, 20 cents a call
    for _ in range(2):
        meter.begin()
        clock[0] += 10 * 10**9
        meter.charge()
    clock[0] += 1
    with pytest.raises(BudgetReached, match=r"\$0.3000 of \$0.50 spent, and the next request may cost \$0.2000"):
        meter.begin()


@settings(max_examples=150, deadline=None)
@given(
    cap=st.integers(1, 300),
    calls=st.lists(st.tuples(st.integers(1, 80), st.floats(0, 1), st.booleans(), st.booleans()), max_size=40),
    seed=st.integers(0, 2**16),
)
def test_spent_and_reserved_never_pass_the_cap(cap: int, calls: list[tuple[int, float, bool, bool]], seed: int) -> None:
    """Calls of any worst case, that cost any share of it, are lost or are cancelled while they wait."""

    async def main() -> None:
        rng = random.Random(seed)
        drawn = [Decimal(0)]

        async def store(usd: Decimal) -> None:
            await asyncio.sleep(0)
            drawn.append(usd)

        b = budget(str(Decimal(cap) / 100), store=store)

        started: dict[int, Decimal | None] = {}

        async def call(worst: int, share: float, lost: bool, no: int) -> None:
            started[no] = None
            reserved = started[no] = await b.reserve(request(worst))
            assert b.spent + b.reserved <= drawn[-1] <= Decimal(cap) / 100  # stored before it is sent
            assert b.spent + b.reserved <= Decimal(cap) / 100
            await asyncio.sleep(0)
            b.settle(reserved, None if lost else reserved * Decimal(str(share)))
            assert b.spent + b.reserved <= Decimal(cap) / 100

        tasks: list[asyncio.Task[None]] = []
        for worst, share, lost, cancelled in calls:
            started[len(tasks)] = None
            tasks.append(asyncio.create_task(call(worst, share, lost, len(tasks))))
            if rng.random() < 0.5:
                await asyncio.sleep(0)
            if cancelled and not tasks[-1].done() and started[len(tasks) - 1] is None:
                tasks[-1].cancel()  # while it waits for its reserve, or in the tick in which it was granted
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(e is None or isinstance(e, BudgetReached | asyncio.CancelledError) for e in ended)
        assert b.reserved == 0
        assert not b._waiting

    asyncio.run(main())
