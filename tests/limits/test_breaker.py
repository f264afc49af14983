import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbatch.limits.breaker import Breaker
from llmbatch.limits.calls import Admitted


def call(row_no: int, at: float = 0.0, *, probe: bool = False) -> Admitted:
    return Admitted(row_no, 1, at, probe)


def healthy() -> Breaker:
    """One that has seen a thousand answers."""
    breaker = Breaker(random.Random(1))
    for row_no in range(1_000):
        breaker.answered(call(10_000 + row_no, -1.0))
    return breaker


def opened(rng: random.Random) -> Breaker:
    breaker = Breaker(rng)
    for row_no in range(12):
        breaker.failed(call(row_no), (), 0.0)
    assert breaker.is_open
    return breaker


def test_opens_on_six_distinct_rows_and_not_before() -> None:
    breaker = healthy()
    opens = [breaker.failed(call(row_no), (), 0.0) for row_no in [0] * 50 + list(range(6))]
    assert opens == [False] * 55 + [True]


def test_of_a_provider_that_never_answered_twelve() -> None:
    breaker = Breaker(random.Random(1))
    assert [breaker.failed(call(row_no), (), 0.0) for row_no in range(12)] == [False] * 11 + [True]


def test_an_answer_in_between_starts_the_count_again() -> None:
    breaker = Breaker(random.Random(1))
    for row_no in range(100):
        breaker.failed(call(row_no), (), float(row_no))
        if row_no % 5 == 4:
            breaker.answered(call(1_000, float(row_no)))
    assert not breaker.is_open


def test_slow_answers_on_their_way_keep_it_closed_for_longer() -> None:
    breaker = healthy()
    slow = [call(1_000 + n, at=2.5) for n in range(30)]
    opens = [breaker.failed(call(row_no, at=2.0 + row_no), slow, 80.0) for row_no in range(7)]
    assert opens == [False] * 6 + [True]


def test_calls_of_the_time_before_the_faults_say_nothing() -> None:
    breaker = healthy()
    before = [call(1_000 + n, at=1.0) for n in range(50)]
    for row_no in range(6):
        opens = breaker.failed(call(row_no, at=2.0), before, 2.1)
        breaker.answered(before.pop())
    assert opens


def test_calls_after_the_failed_ones_say_nothing() -> None:
    breaker = Breaker(random.Random(1))
    later = [call(1_000 + n, at=3.0) for n in range(50)]
    assert any(breaker.failed(call(row_no, at=2.0), later, 62.0) for row_no in range(12))


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.7])
def test_a_steady_share_of_faults_opens_nothing_and_an_outage_does(share: float) -> None:
    rng, breaker = random.Random(1), Breaker(random.Random(1))
    for row_no in range(20_000):
        if rng.random() < share:
            assert not breaker.failed(call(row_no), (), 0.0)
        else:
            breaker.answered(call(row_no))
    assert any(breaker.failed(call(row_no), (), 0.0) for row_no in range(60))


def test_rows_that_fail_by_themselves_open_nothing_when_they_fail_again() -> None:
    breaker = Breaker(random.Random(1))
    for row_no in range(30):
        assert not breaker.failed(call(row_no), (), 1.0)
        breaker.answered(call(1_000 + row_no))
    assert not any(breaker.failed(call(row_no), (), 2.0) for row_no in range(30))
    assert any(breaker.failed(call(row_no), (), 2.0) for row_no in range(100, 130)), "others still do"


@given(st.randoms(use_true_random=False))
def test_a_two_minute_outage_costs_few_probes(rng: random.Random) -> None:
    breaker, now, probes = opened(rng), 0.0, 0
    while (now := now + breaker.wait(now)) < 120:
        breaker.failed(call(0, now, probe=True), (), now)
        probes += 1
    assert 5 <= probes <= 8
    assert breaker.wait(now) == 0
    assert breaker.answered(call(0, now, probe=True))
    assert not breaker.is_open


def test_an_answer_from_among_those_in_flight_closes_it_at_once() -> None:
    breaker = opened(random.Random(1))
    assert not breaker.answered(call(99, -1.0)), "it was sent before the faults began"
    assert breaker.answered(call(99, 0.1))
    assert not breaker.is_open
    assert not breaker.outage


def test_once_a_probe_failed_only_a_probe_opens_the_way_again() -> None:
    breaker = opened(random.Random(1))
    breaker.failed(call(0, 1.0, probe=True), (), 1.1)
    until = breaker.wait(1.1)
    assert not breaker.answered(call(99, 0.1))
    assert not breaker.failed(call(98), (), 1.2)
    assert breaker.is_open
    assert breaker.outage
    assert breaker.wait(1.1) == until


def test_faults_that_opened_it_by_accident_become_usual() -> None:
    breaker, opened_at = healthy(), []
    rng = random.Random(3)
    for row_no in range(3_000):
        if rng.random() < 0.8:
            if breaker.failed(call(row_no), (), 0.0):
                opened_at.append(row_no)
        else:
            breaker.answered(call(row_no, probe=breaker.is_open))
    assert 1 <= len(opened_at) <= 10
    assert max(opened_at) < 500


def test_each_outage_begins_with_a_short_pause() -> None:
    breaker = opened(random.Random(1))
    for _ in range(6):
        breaker.failed(call(0, probe=True), (), 10.0)
    breaker.answered(call(0, probe=True))
    for row_no in range(12):
        breaker.failed(call(row_no, 101.0), (), 101.0)
    assert breaker.is_open
    assert 1 <= breaker.wait(101.0) <= 1.2


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["fails", "fails", "answers"]), st.integers(0, 30), st.sampled_from([0.0, 0.01, 1.0])
        ),
        max_size=300,
    )
)
def test_whatever_comes_it_opens_on_six_rows_at_least_and_an_answered_probe_closes_it(
    events: list[tuple[str, int, float]],
) -> None:
    breaker, now = Breaker(random.Random(1)), 0.0
    failed: set[int] = set()
    for what, row_no, gap in events:
        now += gap
        if breaker.is_open:
            wait = breaker.wait(now)
            assert 0 <= wait <= 36
            now += wait
        probe = call(row_no, now, probe=breaker.is_open)
        if what == "answers":
            breaker.answered(probe)
            assert not breaker.is_open
            failed.clear()
        else:
            failed.add(row_no)
            if breaker.failed(probe, (), now):
                assert len(failed) >= 6
