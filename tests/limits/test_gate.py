"""The gate, in virtual time: order, rates, outages, and what a cancelled waiter leaves behind."""

import asyncio
import random
import time
from bisect import bisect_left
from statistics import fmean

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmbatch.errors import Exit, Interrupted, ProviderDown, Rejected
from llmbatch.limits import Gate, Permit
from llmbatch.settings import LimitSettings
from tests.limits.virtual import Server, clock, drive, run


def gate_of(**limits: object) -> Gate:
    return Gate(LimitSettings.model_validate(limits), clock=clock, rng=random.Random(1))


def limited(
    server: Server, *, until: float, rows: int = 10**9, workers: int = 300, **limits: object
) -> tuple[Gate, int]:
    """Ask a server for rows until a time; the gate, and how many were answered."""

    async def main() -> tuple[Gate, int]:
        gate = gate_of(**limits)
        return gate, await drive(gate, server, until=until, rows=rows, workers=workers)

    return run(main)


def within(times: list[float], seconds: float) -> int:
    """The most that came within any window."""
    times = sorted(times)
    return max(bisect_left(times, at + seconds) - n for n, at in enumerate(times))


# order


def test_first_come_first_served_whatever_the_size() -> None:
    async def main() -> list[int]:
        gate, order = gate_of(tokens_per_minute=60_000), []

        async def one(row_no: int) -> None:
            permit = await gate.admit(row_no, 5_000 if row_no % 7 == 3 else 50)
            order.append(row_no)
            await asyncio.sleep(0.5)
            permit.settle("answered")

        await asyncio.gather(*(one(row_no) for row_no in range(100)))
        return order

    assert run(main) == list(range(100))


def test_free_means_at_once() -> None:
    async def main() -> None:
        gate = gate_of(concurrency=10)
        admit = gate.admit(0, 100)
        with pytest.raises(StopIteration):  # it never gave way to the loop
            admit.send(None)
        assert gate.in_flight == 1

    run(main)


def test_a_mix_of_sizes_uses_the_limit_and_nobody_starves() -> None:
    async def main() -> tuple[int, list[tuple[float, float]]]:
        gate, rng, used = gate_of(tokens_per_minute=200_000, concurrency=200), random.Random(2), 0
        waits: list[tuple[float, float]] = []

        async def work() -> None:
            nonlocal used
            while clock() < 300:
                size = rng.choice([50] * 9 + [5_000])
                asked = clock()
                permit = await gate.admit(0, size)
                waits.append((asked, clock() - asked))
                await asyncio.sleep(0.5)
                if 10 <= clock() < 300:
                    used += size
                permit.settle("answered", tokens=size)

        await asyncio.gather(*(work() for _ in range(100)))
        return used, waits

    used, waits = run(main)
    assert used >= 0.95 * 200_000 * 290 / 60
    late = [wait for asked, wait in waits if asked > 60]
    assert max(late) <= 3 * fmean(late)


# rates


@pytest.mark.parametrize(
    ("says", "burst", "named", "most_429s"),
    [
        ("limit retry", 600, 600, 0.0),  # configured
        ("limit retry", 600, None, 0.001),  # learned from the headers
        ("limit retry", 20, None, 0.01),
        ("retry", 600, None, 0.03),  # learned from the 429s
        ("", 600, None, 0.03),
        ("retry", 10, None, 0.02),
    ],
)
def test_a_limit_is_used_and_not_passed(says: str, burst: float, named: float | None, most_429s: float) -> None:
    server = Server(random.Random(1), per_minute=600, burst=burst, says=says)
    limited(server, until=600, requests_per_minute=named)
    knows = "limit" in says
    assert server.answered(10, 600) >= (0.97 if knows else 0.92) * 10 * 590
    assert server.count("rate_limited") <= most_429s * len(server.ended)
    if named:
        assert within(server.asked, 60) <= 600


def test_a_share_of_the_limit() -> None:
    server = Server(random.Random(1), per_minute=600, says="limit")
    limited(server, until=300, share=0.5)
    assert 0.97 * 5 * 290 <= server.answered(10, 300) <= 5 * 290
    assert within([at for at in server.asked if at > 5], 60) <= 300


def test_a_limit_that_changes_is_followed() -> None:
    server = Server(random.Random(1), per_minute=600, says="limit retry", burst=60)

    async def main() -> Gate:
        gate, loop = gate_of(), asyncio.get_running_loop()
        loop.call_at(60, setattr, server, "per_minute", 300)
        loop.call_at(120, setattr, server, "per_minute", 1_200)
        await drive(gate, server, until=180)
        return gate

    gate = run(main)
    assert [c.value for c in gate.changes if c.what == "requests_per_minute"] == [600, 300, 1_200]
    assert server.answered(65, 120) == pytest.approx(5 * 55, rel=0.05)
    assert server.answered(125, 180) == pytest.approx(20 * 55, rel=0.05)


def test_what_can_never_fit_fails_at_once() -> None:
    async def main() -> None:
        gate = gate_of(tokens_per_minute=1_000, share=0.5)
        with pytest.raises(Rejected, match="needs about 501 tokens, and the limit is 500 tokens a minute") as caught:
            await gate.admit(0, 501)
        assert caught.value.failure == "too_many_tokens"
        (await gate.admit(1, 500)).settle("answered")
        assert gate.in_flight == 0

    run(main)


def test_a_waiter_that_no_longer_fits_fails_and_lets_the_next_go() -> None:
    async def main() -> None:
        gate = gate_of(concurrency=1)
        first = await gate.admit(0, 10)
        large, small = asyncio.create_task(gate.admit(1, 5_000)), asyncio.create_task(gate.admit(2, 10))
        await asyncio.sleep(0)
        first.settle("answered", headers={"x-ratelimit-limit-tokens": "1000"})
        with pytest.raises(Rejected):
            await large
        (await small).settle("answered")

    run(main)


# 429s and outages


@pytest.mark.parametrize("says", ["", "retry"])
def test_429_on_everything_for_a_minute(says: str) -> None:
    server = Server(random.Random(1), slots=32, sigma=0.3, says=says)
    server.fault = lambda at, row_no: "rate_limited" if 60 <= at < 120 else None
    limited(server, until=180)
    assert sum(60 <= at < 120 for at in server.asked) <= 20
    before, after = server.answered(40, 60) / 20, server.answered(135, 165) / 30
    assert after >= 0.9 * before


def test_a_row_that_a_429_sent_back_keeps_its_place() -> None:
    async def main() -> None:
        gate, order = gate_of(concurrency=1), []
        held = await gate.admit(0, 1)
        held.settle("answered")
        first = await gate.admit(1, 1)

        async def one(row_no: int) -> None:
            permit = await gate.admit(row_no, 1)
            order.append(row_no)
            permit.settle("answered")

        later = [asyncio.create_task(one(row_no)) for row_no in (2, 3, 4)]
        await asyncio.sleep(0)
        first.settle("rate_limited")
        await asyncio.gather(one(1), *later)
        assert order == [1, 2, 3, 4]

    run(main)


def test_rows_that_alone_get_429s_slow_nobody_down_for_long() -> None:
    server = Server(
        random.Random(1), slots=32, sigma=0.3, fault=lambda at, row_no: "rate_limited" if not row_no else None
    )
    limited(server, until=120)
    assert server.answered(30, 120) >= 0.9 * 90 * 32 / 0.523


@pytest.mark.parametrize("wrong_by", [1 / 3, 3.0])
def test_an_estimate_that_is_wrong_at_first_uses_the_limit_all_the_same(wrong_by: float) -> None:
    async def main() -> float:
        gate, used, factor = gate_of(tokens_per_minute=300_000), 0, wrong_by

        async def work(first: int) -> None:
            nonlocal used, factor
            row_no = first
            while clock() < 60:
                tokens = 5_000 if row_no % 10 == 5 else 50
                permit = await gate.admit(row_no, max(1, round(tokens * factor)))
                await asyncio.sleep(0.5)
                used += tokens if 10 < clock() < 60 else 0
                factor += 0.05 * (1 - factor)
                permit.settle("answered", tokens=tokens, latency_s=0.5)
                row_no += 100

        await asyncio.gather(*(work(n) for n in range(100)))
        return used / 50

    assert run(main) == pytest.approx(5_000, rel=0.06)


def test_what_others_use_of_the_key_is_left_to_them() -> None:
    async def main() -> int:
        gate, sent = gate_of(), 0
        while clock() < 60:
            permit = await gate.admit(sent, 1)
            sent += 1
            says = {"x-ratelimit-limit-requests": "600", "x-ratelimit-remaining-requests": "0"}
            permit.settle("answered", headers=says, latency_s=0.0)
        return sent

    assert 500 <= run(main) <= 600, "never the bucket's burst, for nothing is left of it"


def test_nothing_is_sent_while_the_provider_asks_to_wait() -> None:
    async def main() -> None:
        gate = gate_of(concurrency=50)
        permits = [await gate.admit(row_no, 1) for row_no in range(50)]
        permits[0].settle("rate_limited", retry_after=20.0)
        for permit in permits[1:]:
            permit.settle("answered")
        began = clock()
        await gate.admit(99, 1)
        assert 20 <= clock() - began <= 22

    run(main)


@pytest.mark.parametrize("slots", [4, 32])
def test_a_two_minute_outage_costs_few_requests_and_is_waited_out(slots: int) -> None:
    server = Server(random.Random(1), slots=slots, sigma=0.3)
    server.fault = lambda at, row_no: "transient" if 60 <= at < 180 else None
    rows = 150 * slots
    _, done = limited(server, until=800, rows=rows, workers=2 * slots)
    assert sum(60 <= at < 180 for at in server.asked) <= 20
    assert within([at for at in server.asked if at > 180], 0.1) <= 20
    assert done == rows


def test_an_outage_that_takes_as_long_as_answers_costs_no_more_than_was_sent_before_it_showed() -> None:
    server = Server(random.Random(1), slots=32, sigma=0.3, fail_s=0.5)
    server.fault = lambda at, row_no: "transient" if 60 <= at < 180 else None
    limited(server, until=200)
    assert sum(60 <= at < 60.5 for at in server.asked) <= 48  # what fits into the slots
    assert sum(60.5 <= at < 180 for at in server.asked) <= 20


def test_rows_that_never_work_at_the_head_are_no_outage() -> None:
    server = Server(random.Random(1), slots=8, fault=lambda at, row_no: "transient" if row_no < 60 else None)
    limited(server, until=60)
    assert server.answered(0, 20) >= 100
    assert server.answered(20, 60) >= 0.7 * 40 * 8 / 0.5


def test_a_herd_is_not_let_loose_after_a_pause() -> None:
    async def main() -> list[float]:
        gate, times = gate_of(concurrency=500), []

        async def one(row_no: int) -> None:
            permit = await gate.admit(row_no, 1)
            times.append(clock())
            await asyncio.sleep(3)
            permit.settle("answered")

        (await gate.admit(0, 1)).settle("rate_limited", retry_after=10.0)
        await asyncio.gather(*(one(row_no) for row_no in range(500)))
        return times

    assert within(run(main), 0.1) <= 55


@pytest.mark.parametrize(("share", "fail_s"), [(0.3, 0.01), (0.5, 0.5)])
def test_random_5xx_open_nothing_and_slow_nothing(share: float, fail_s: float) -> None:
    server = Server(random.Random(1), slots=32, sigma=0.1, fail_s=fail_s)
    server.fault = lambda at, row_no: "transient" if server.rng.random() < share else None
    gate, _ = limited(server, until=150)
    assert not [change for change in gate.changes if change.what == "breaker"]
    assert server.answered(50, 150) >= 0.9 * 100 * 32 / 0.5025


@pytest.mark.parametrize("outcome", ["transient", "rate_limited"])
def test_when_patience_is_over_everybody_hears_of_it(outcome: str) -> None:
    server = Server(random.Random(1), fault=lambda at, row_no: outcome)

    async def ask(gate: Gate, row_no: int) -> None:
        while True:
            permit = await gate.admit(row_no, 1)
            permit.settle((await server.call(row_no)).outcome)

    async def main() -> tuple[float, list[BaseException | None]]:
        gate = gate_of(outage_patience_s=100, concurrency=20)
        heard = await asyncio.gather(*(ask(gate, row_no) for row_no in range(30)), return_exceptions=True)
        return clock(), heard

    ended, heard = run(main)
    assert all(isinstance(error, ProviderDown) and "answered nothing for 100 s" in str(error) for error in heard)
    assert ended == pytest.approx(100, abs=1)


def test_one_bad_row_at_the_end_is_no_outage() -> None:
    async def main() -> None:
        gate = gate_of(outage_patience_s=10)
        for _ in range(60):
            (await gate.admit(7, 1)).settle("transient")
            await asyncio.sleep(1)

    run(main)


# closing and cancelling


def test_close_tells_those_who_wait_and_those_who_come() -> None:
    async def main() -> None:
        gate, reason = gate_of(concurrency=1), Interrupted(Exit.SIGTERM)
        held = await gate.admit(0, 1)
        waiter = asyncio.create_task(gate.admit(1, 1))
        await asyncio.sleep(0)
        gate.close(reason)
        for admit in (waiter, gate.admit(2, 1)):
            with pytest.raises(Interrupted):
                await admit
        held.settle("answered")
        assert gate.in_flight == gate.waiting == 0

    run(main)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.floats(0, 5), st.floats(0, 5), st.sampled_from(["answered", "rate_limited", "transient"])),
        min_size=1,
        max_size=60,
    ),
    st.integers(1, 8),
    st.sampled_from([None, 60.0, 600.0]),
)
def test_cancelled_waiters_leave_nothing_behind(
    rows: list[tuple[float, float, str]], concurrency: int, requests_per_minute: float | None
) -> None:
    async def main() -> None:
        gate = gate_of(concurrency=concurrency, requests_per_minute=requests_per_minute, tokens_per_minute=60_000)
        held = 0

        async def one(row_no: int, start: float, outcome: str) -> None:
            nonlocal held
            await asyncio.sleep(start)
            permit = await gate.admit(row_no, 100 + row_no)
            held += 1
            assert held <= gate.in_flight <= concurrency  # others may have theirs, and not know it yet
            try:
                await asyncio.sleep(0.7)
            finally:
                held -= 1
                permit.settle(outcome)

        tasks = [asyncio.create_task(one(n, start, outcome)) for n, (start, _, outcome) in enumerate(rows)]
        for task, (_, cancel_at, _) in zip(tasks, rows, strict=True):
            if cancel_at < 4:
                asyncio.get_running_loop().call_later(cancel_at, task.cancel)
        await asyncio.wait(tasks)
        assert all(not task.cancelled() for task, row in zip(tasks, rows, strict=True) if row[1] >= 4)
        assert gate.in_flight == gate.waiting == 0
        await asyncio.gather(*(one(1_000 + n, 0, "answered") for n in range(concurrency)))

    run(main)


def test_a_permit_that_comes_with_the_cancellation_is_given_back() -> None:
    async def main() -> None:
        gate = gate_of(concurrency=1, requests_per_minute=60)
        held = await gate.admit(0, 1)
        waiter = asyncio.create_task(gate.admit(1, 1))
        await asyncio.sleep(5)
        held.settle("answered")  # the waiter's permit is on its way
        waiter.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiter
        assert gate.in_flight == 0
        began = clock()
        (await gate.admit(2, 1)).settle("answered")
        assert clock() - began < 0.01, "slot and request are both there again"

    run(main)


def test_a_permit_is_settled_once() -> None:
    async def main() -> None:
        permit = await gate_of().admit(0, 1)
        permit.settle("answered")
        with pytest.raises(AssertionError):
            permit.settle("answered")

    run(main)


# cost


def test_admitting_costs_little() -> None:
    async def cost(gate: Gate, calls: int) -> float:
        began = time.process_time()
        for row_no in range(calls):
            (await gate.admit(row_no, 100)).settle("answered", tokens=90, latency_s=0.001, output_tokens=20)
        return (time.process_time() - began) / calls

    async def main() -> float:
        gate = Gate(LimitSettings())
        return min([await cost(gate, 2_000) for _ in range(5)])

    assert asyncio.run(main()) <= 30e-6  # 3 µs on an idle machine


def test_a_long_queue_costs_no_more_for_each() -> None:
    async def main(waiters: int) -> float:
        gate = gate_of(concurrency=10)

        async def one(row_no: int) -> Permit:
            permit = await gate.admit(row_no, 1)
            await asyncio.sleep(0.01)
            permit.settle("answered")
            return permit

        began = time.process_time()
        await asyncio.gather(*(one(row_no) for row_no in range(waiters)))
        return (time.process_time() - began) / waiters

    short = min(run(lambda: main(200)) for _ in range(3))
    assert run(lambda: main(8_000)) <= 5 * short
