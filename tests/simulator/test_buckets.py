"""The server's limits, under a virtual clock."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbatch.simulator import Limits
from llmbatch.simulator.buckets import Bucket, Buckets, duration


@given(
    st.floats(1, 10_000),
    st.floats(0.1, 120),
    st.lists(st.tuples(st.floats(0, 10), st.integers(1, 500)), max_size=80),
)
def test_never_more_than_the_burst_and_the_rate(
    per_minute: float, burst_s: float, asks: list[tuple[float, int]]
) -> None:
    limits = Limits(requests_per_minute=per_minute, tokens_per_minute=per_minute * 50, burst_s=burst_s)
    buckets, now, requests, tokens = Buckets(limits, 0.0), 0.0, 0, 0
    for pause, amount in asks:
        now += pause
        if buckets.take(amount, now) is None:
            requests, tokens = requests + 1, tokens + amount
        else:
            assert buckets.headers(now) == buckets.headers(now), "a refusal takes nothing"
    minutes = now / 60
    assert requests <= max(per_minute * burst_s / 60, 1) + per_minute * minutes + 1e-6
    assert tokens <= max(per_minute * 50 * burst_s / 60, 1) + per_minute * 50 * minutes + 500


@given(st.floats(1, 10_000), st.floats(0, 1), st.floats(1, 1e5))
def test_the_wait_is_enough_and_not_too_long(per_minute: float, fullness: float, amount: float) -> None:
    bucket = Bucket(per_minute, per_minute, per_minute * fullness, 0.0)
    wait = bucket.wait_s(amount)
    assert math.isinf(wait) == (amount > per_minute)
    if not math.isinf(wait):
        bucket.fill(wait + 1e-6)
        assert bucket.level >= amount - 1e-3
        assert wait == pytest.approx(max(0.0, amount - per_minute * fullness) * 60 / per_minute)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0ms"), (0.12, "120ms"), (1.5, "1.5s"), (59, "59s"), (360, "6m0s"), (61.25, "1m1.25s"), (3600, "1h0m0s")],
)
def test_durations_are_written_as_openai_writes_them(seconds: float, text: str) -> None:
    assert duration(seconds) == text
