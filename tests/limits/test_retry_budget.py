import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbatch.limits import RetryBudget, backoff


@given(st.lists(st.tuples(st.booleans(), st.sampled_from([0.0, 0.0, 0.01, 1.0, 30.0])), max_size=500))
def test_retries_are_bounded_whatever_happens(events: list[tuple[bool, float]]) -> None:
    budget, now, first = RetryBudget(), 0.0, [0.0]
    gone = []
    for is_retry, gap in events:
        now += gap
        if is_retry:
            gone.append(now + budget.take(now))
        else:
            budget.first_attempt(now)
            first.append(now)
    for at in gone:
        firsts = sum(f <= at for f in first[1:])
        assert sum(g <= at for g in gone) <= 0.5 * firsts + 10 + at + 1e-6


@pytest.mark.parametrize("share", [0.1, 0.3, 0.6, 1.0])
def test_requests_per_row_by_share_of_faults(share: float) -> None:
    rng, budget, now = random.Random(1), RetryBudget(), 0.0
    requests, waited, rows = 0, 0.0, 10_000
    for _ in range(rows):
        now += 0.01
        budget.first_attempt(now)
        requests += 1
        for _ in range(3):
            if rng.random() >= share:
                break
            wait = budget.take(now)
            waited += wait
            requests += wait == 0
    assert requests / rows <= 1.5 + (10 + now) / rows
    if share <= 0.3:
        assert waited == 0


def test_a_small_run_has_retries_and_an_empty_budget_fills_with_time() -> None:
    budget = RetryBudget()
    assert [budget.take(0.0) for _ in range(12)] == [0.0] * 10 + [1.0, 2.0]
    assert budget.take(100.0) == 0.0


def test_backoff_is_full_jitter_and_bounded() -> None:
    rng = random.Random(1)
    for attempt, widest in ((1, 0.5), (2, 1.0), (3, 2.0), (7, 30.0), (10_000, 30.0)):
        pauses = [backoff(attempt, rng) for _ in range(500)]
        assert 0 <= min(pauses) < 0.05 * widest
        assert 0.95 * widest < max(pauses) <= widest
