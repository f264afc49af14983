from bisect import bisect_left
from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbatch.limits.bucket import Bucket
from llmbatch.limits.headers import Allowance

Taken = list[tuple[float, float]]


def take(bucket: Bucket, amount: float, now: float) -> float:
    """Wait for an amount and take it, as the head of a queue does; returns when."""
    now += bucket.wait(amount, now)
    assert bucket.wait(amount, now) <= 1e-9
    bucket.take(amount, now)
    return now


def busiest_minute(taken: Taken) -> float:
    times, sums = [t for t, _ in taken], [0.0, *accumulate(a for _, a in taken)]
    return max(sums[bisect_left(times, t + 60)] - sums[i] for i, t in enumerate(times))


@given(st.integers(1, 20_000), st.lists(st.sampled_from([0.0, 0.0, 0.0, 0.01, 1.0, 70.0]), min_size=1, max_size=400))
def test_requests_in_no_minute_above_the_limit(limit: int, lulls: list[float]) -> None:
    bucket, now = Bucket(limit, 1.0, 0.0), 0.0
    taken = []
    for lull in lulls:
        now = take(bucket, 1, now + lull)
        taken.append((now, 1.0))
    assert busiest_minute(taken) <= limit


@given(st.floats(0.05, 1.0), st.lists(st.tuples(st.sampled_from([0.0, 0.0, 0.5, 90.0]), st.integers(1, 5_000))))
def test_tokens_in_no_minute_above_the_limit_by_more_than_one_request(
    share: float, asks: list[tuple[float, int]]
) -> None:
    bucket, now = Bucket(100_000, share, 0.0), 0.0
    taken = []
    for lull, amount in asks:
        now = take(bucket, amount, now + lull)
        taken.append((now, float(amount)))
    if taken:
        limit = 100_000 * share
        assert busiest_minute(taken) <= limit * 0.985 + max(limit * 0.015, 1, *(a for _, a in taken)) + 1e-6


def test_no_burst_at_the_start() -> None:
    bucket = Bucket(600, 1.0, 0.0)
    assert [round(take(bucket, 1, 0.0), 1) for _ in range(4)] == [0.0, 0.1, 0.2, 0.3]


@pytest.mark.parametrize("amounts", [(50, 50, 5_000), (1,), (5_000,)])
def test_all_of_the_limit_is_used_when_there_is_demand(amounts: tuple[int, ...]) -> None:
    bucket, now, used = Bucket(100_000, 1.0, 0.0), 0.0, 0
    while now < 300:
        for amount in amounts:
            now = take(bucket, amount, now)
            used += amount
    assert used >= 0.98 * 100_000 * now / 60


def test_unused_tokens_come_back() -> None:
    bucket, now, used = Bucket(60_000, 1.0, 0.0), 0.0, 0
    running: list[tuple[float, int]] = []
    while now < 300:
        now += bucket.wait(1_000, now)
        bucket.take(1_000, now)
        running.append((now + 0.3, 400))
        while running and running[0][0] <= now:
            ended, tokens = running.pop(0)
            bucket.settle(1_000, tokens, ended)
            used += tokens
    assert used >= 0.95 * 60_000 * 5


def test_tokens_beyond_the_estimate_are_paid_back_before_the_next() -> None:
    bucket = Bucket(60_000, 1.0, 0.0)
    now = take(bucket, 100, 0.0)
    bucket.settle(100, 10_100, now)
    assert take(bucket, 100, now) - now == pytest.approx(10_100 / 985, rel=0.02)


def test_a_debt_is_never_longer_than_a_minute() -> None:
    bucket = Bucket(60_000, 1.0, 0.0)
    bucket.settle(0, 10**9, 0.0)
    assert bucket.wait(1, 0.0) == pytest.approx(60, abs=0.1)


def test_a_refund_after_a_lull_makes_no_burst() -> None:
    bucket = Bucket(60_000, 1.0, 0.0)
    bucket.settle(10**6, 0, 100.0)
    taken = 0
    while bucket.wait(100, 100.0) == 0:
        bucket.take(100, 100.0)
        taken += 100
    assert taken <= 5_000


def test_never_fits() -> None:
    bucket = Bucket(1_000, 0.5, 0.0)
    assert not bucket.never_fits(500)
    assert bucket.never_fits(501)
    assert not Bucket(None, 1.0, 0.0).never_fits(10**9)


def test_learns_the_limit_and_follows_it() -> None:
    bucket = Bucket(None, 0.5, 0.0)
    assert bucket.wait(1, 0.0) == 0
    assert bucket.learn(Allowance(600, 500, 10.0), 1.0)
    assert bucket.per_minute == 300
    assert not bucket.learn(Allowance(600, 500, 10.0), 2.0)
    assert bucket.learn(Allowance(1_200, 500, 10.0), 3.0)
    assert bucket.per_minute == 600


def test_a_configured_limit_is_a_ceiling() -> None:
    bucket = Bucket(600, 1.0, 0.0)
    bucket.learn(Allowance(5_000, 4_999, 0.1), 1.0)
    assert bucket.per_minute == 600
    bucket.learn(Allowance(300, 299, 0.1), 1.0)
    assert bucket.per_minute == 300


def test_a_limit_that_resets_in_hours_is_none_a_minute() -> None:
    bucket = Bucket(None, 1.0, 0.0)
    bucket.learn(Allowance(14_400, 14_370, 179.56), 1.0)
    assert bucket.per_minute is None


def test_what_others_use_of_the_key_counts() -> None:
    bucket = Bucket(None, 1.0, 0.0)
    bucket.learn(Allowance(600, 300, 30.0), 0.0)
    assert bucket.wait(1, 10.0) == 0
    bucket.learn(Allowance(600, 0, 60.0), 10.0)
    assert bucket.wait(1, 10.0) == pytest.approx(0.1, abs=0.01)


def test_a_pace_holds_below_the_limit_until_it_is_lifted() -> None:
    bucket = Bucket(6_000, 1.0, 0.0)
    bucket.pace(60, 0.0)
    now = take(bucket, 1, take(bucket, 1, 0.0))
    assert now == pytest.approx(1.0)
    bucket.pace(None, now)
    assert take(bucket, 1, now + 1) - now <= 1.01
