import asyncio
import random
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmbatch.budget import Budget
from llmbatch.errors import BudgetReached, Exit, Interrupted
from llmbatch.types import Request


def request(cents: int) -> Request:
    return Request("k", cents, "m", (), {}, {})


def budget(cap: str, spent: str = "0") -> Budget:
    return Budget(
        Decimal(cap),
        worst_case=lambda r: Decimal(r.row_no) / 100,
        cost_of=lambda reply: reply.cost_usd,
        spent=Decimal(spent),
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
        b = budget(str(Decimal(cap) / 100))

        started: dict[int, Decimal | None] = {}

        async def call(worst: int, share: float, lost: bool, no: int) -> None:
            started[no] = None
            reserved = started[no] = await b.reserve(request(worst))
            assert b.spent + b.reserved <= b.cap
            await asyncio.sleep(0)
            b.settle(reserved, None if lost else reserved * Decimal(str(share)))
            assert b.spent + b.reserved <= b.cap

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
