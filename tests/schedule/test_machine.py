"""The schedule's decisions, one by one, and what holds of every one of them."""

from __future__ import annotations

from dataclasses import replace
from math import inf

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmbatch import schedule
from llmbatch.schedule import BatchSeen, Decided, Event, Offer, State, Terms
from llmbatch.schedule.times import LEAVE_BATCH

HOUR = 3_600.0
BOTH = (Offer("batch", 0.5), Offer("flex", 0.5))
QUICK, SLOW = (400.0, 500.0, 450.0), (inf,) * 12
BATCH = BatchSeen(0.0, 1_000, 0)


def terms(hours: float = 8, offers: tuple[Offer, ...] = BOTH, **more: object) -> Terms:
    return replace(Terms(hours * HOUR, offers, cancel_s=600.0, reserve_s=10.0, history=QUICK), **more)  # type: ignore[arg-type]


def begun(known: Terms, *events: Event, left: int = 1_000, speed: float | None = 1.0) -> State:
    state = schedule.begin(known, 0.0, left, speed=speed)
    for event in events:
        state = schedule.step(state, event)
    return state


def told(state: State) -> list[tuple[str, bool]]:
    return [(one.tier, one.closes) for one in state.decided]


def test_a_speed_that_is_not_known_is_measured_first() -> None:
    state = begun(terms(), speed=None)
    assert (state.tier, state.measuring, schedule.wake_at(state)) == ("flex", True, inf)
    assert schedule.falls_back(state)
    state = schedule.step(state, schedule.FlexSeen(5.0, 0.0))
    state = schedule.step(state, schedule.Measured(800.0, 2.0, reserve_s=30.0))
    assert (state.tier, state.measuring, state.terms.reserve_s) == ("batch", False, 30.0)


def test_open_batches_of_a_run_without_a_schedule_are_waited_for_when_they_are_cancelled() -> None:
    state = schedule.begin(terms(), 0.0, 1_000, speed=None, batches=(BATCH,))
    assert state.closing
    for at in (1.0, 300.0, 599.0):
        state = schedule.step(state, schedule.Tick(at, 1_000))
        assert state.closing, "what they still do is not paid twice at once"
    state = schedule.step(state, schedule.Tick(600.0, 1_000))
    assert not state.closing
    assert "may be paid twice" in state.decided[-1].reason


def test_flex_comes_first_where_it_costs_no_more_and_batches_when_it_is_refused() -> None:
    assert begun(terms()).tier == "flex"
    assert begun(terms(offers=(Offer("batch", 0.5), Offer("flex", 0.6)))).tier == "batch"
    refused = begun(terms(), schedule.FlexSeen(10.0, 0.0), schedule.FlexSeen(100.0, 0.0))
    assert refused.tier == "flex"
    assert schedule.step(refused, schedule.FlexSeen(140.0, 0.0)).tier == "batch"
    assert schedule.step(refused, schedule.FlexSeen(140.0, 0.5)).tier == "flex"


def test_batches_that_history_has_never_seen_done_in_time_are_not_tried() -> None:
    known = terms(history=SLOW)
    refused = (schedule.FlexSeen(10.0, 0.0), schedule.FlexSeen(200.0, 0.0))
    assert begun(known, *refused).tier == "flex"
    assert begun(replace(known, offers=BOTH[:1])).tier == "batch"  # any chance is one more than none
    assert begun(replace(known, history=QUICK), *refused).tier == "batch"


def test_batches_are_left_at_the_last_moment_and_not_before() -> None:
    state = begun(terms(offers=BOTH[:1]), schedule.BatchesSeen(1.0, 1_000, (BATCH,)))
    last = schedule.last_call(state)
    assert last == schedule.wake_at(state) == 8 * HOUR - 10 - 600 - 1_000 * (1 + LEAVE_BATCH)
    before = schedule.step(state, schedule.Tick(last - 1, 1_000))
    assert (before.tier, before.closing) == ("batch", False)
    state = schedule.step(before, schedule.Tick(last, 1_000))
    assert (state.tier, state.closing, told(state)) == ("standard", True, [("batch", False), ("standard", True)])
    assert "the last moment: 1,000 rows take 17 min at 1 a second" in state.decided[-1].reason


def test_rows_that_batches_have_done_need_no_time() -> None:
    half = schedule.BatchesSeen(HOUR, 1_000, (replace(BATCH, done=500),))
    state = begun(terms(offers=BOTH[:1]), half)
    assert state.to_ask == 500
    # but if cancelling takes for ever, they do: by then all of them can still be asked
    assert schedule.last_call(state) == 8 * HOUR - 10 - 600 - 1_000 * 1.2


def test_after_the_batches_flex_has_its_turn_then_standard() -> None:
    state = begun(terms(history=SLOW), schedule.FlexSeen(10.0, 0.0), schedule.FlexSeen(400.0, 0.0))
    state = replace(state, tier="batch", batches=(replace(BATCH, done=100),), refused_at=None)
    last = schedule.last_call(state)
    state = schedule.step(state, schedule.Tick(last, 1_000))
    assert (state.tier, state.closing) == ("flex", True)
    state = schedule.step(state, schedule.Closed(last + 60, 900))
    assert (state.tier, state.closing) == ("flex", False)
    assert not schedule.falls_back(state)
    state = schedule.step(state, schedule.FlexSeen(last + 70, 0.0))
    late = schedule.wake_at(state)
    assert late == 8 * HOUR - 10 - 900 * 1.2
    assert schedule.falls_back(schedule.step(state, schedule.Tick(late - 1, 900)))
    assert schedule.step(state, schedule.Tick(late, 900)).tier == "standard"


def test_flex_that_is_fast_enough_is_not_left_at_the_last_moment() -> None:
    state = begun(terms(history=SLOW), schedule.FlexSeen(10.0, 1.1))
    late = schedule.wake_at(state)
    assert schedule.step(state, schedule.Tick(late, 1_000)).tier == "flex"
    slower = schedule.step(state, schedule.FlexSeen(late - 1, 0.7))
    assert schedule.step(slower, schedule.Tick(late, 1_000)).tier == "standard"


def test_cancelling_that_takes_too_long_is_not_waited_for() -> None:
    state = begun(terms(offers=BOTH[:1]), schedule.BatchesSeen(1.0, 1_000, (replace(BATCH, done=400),)))
    state = schedule.step(state, schedule.Tick(schedule.last_call(state), 1_000))
    assert state.closing
    state = schedule.step(state, schedule.Tick(schedule.wake_at(state), 1_000))
    assert (state.tier, state.closing, state.to_ask) == ("standard", False, 1_000)
    assert schedule.wake_at(state) == inf


def test_batches_that_do_nothing_are_given_up_for_flex() -> None:
    known = terms(history=(*QUICK, *(inf,) * 12))
    state = replace(begun(known), tier="batch")
    seen = schedule.step(state, schedule.BatchesSeen(300.0, 1_000, (BATCH,)))
    assert seen.tier == "batch"
    seen = schedule.step(seen, schedule.BatchesSeen(5 * HOUR, 1_000, (BATCH,)))
    assert (seen.tier, seen.closing) == ("flex", True)
    without = replace(state, terms=replace(known, offers=BOTH[:1]))
    assert schedule.step(without, schedule.BatchesSeen(5 * HOUR, 1_000, (BATCH,))).tier == "batch"


def test_a_further_batch_goes_only_where_it_will_be_done() -> None:
    state = replace(begun(terms(offers=BOTH[:1])), tier="batch")
    assert schedule.step(state, schedule.Ready(HOUR, 50)).tier == "batch"
    assert schedule.step(state, schedule.Ready(8 * HOUR - 400, 50)).tier == "standard"


def test_where_time_is_short_and_batches_are_quick_calls_and_batches_share_the_rows() -> None:
    state = begun(terms(2, offers=BOTH[:1]), left=6_900)
    assert (state.tier, state.beside) == ("batch", 750)
    assert schedule.step(state, schedule.Tick(2 * HOUR, 6_900)) == replace(state, at=2 * HOUR)
    state = schedule.step(state, schedule.Beside(800.0, 0))
    assert (state.left, state.beside) == (0, 0)
    assert begun(terms(2, offers=BOTH[:1], history=(400.0, inf)), left=6_900).tier == "standard"


def test_a_night_goes_on_where_it_stopped() -> None:
    before = (Decided(0.0, "batch", "r", 1_000), Decided(9.0, "flex", "the last moment", 900, closes=True))
    state = schedule.begin(terms(), 7.5 * HOUR, 900, speed=1.0, before=before)
    assert (state.tier, state.decided) == ("flex", before)
    assert schedule.begin(terms(offers=BOTH[:1]), HOUR, 900, speed=1.0, before=before).tier == "standard"
    open_ones = schedule.begin(terms(), HOUR, 900, speed=1.0, batches=(BATCH,), before=before[:1])
    assert (open_ones.tier, open_ones.closing) == ("batch", False)
    late = schedule.begin(terms(), 7.9 * HOUR, 900, speed=1.0, batches=(BATCH,), before=before[:1])
    assert late.closing


def test_the_chance_of_a_batch() -> None:
    history = (400.0, 400.0, 500.0, 500.0, 550.0, inf)
    chances = [schedule.chance(history, by) for by in (0, 100, 450, 900, 3_600, 86_400, inf)]
    assert chances == sorted(chances)
    assert chances[0] == 0
    assert chances[1] < 0.01
    assert chances[-1] == pytest.approx(1 - (1 + 1 / 3) / 8)  # the infinite one, and that of what is assumed
    late = schedule.chance(history, 1_000, 900)
    assert late < schedule.chance(history, 1_000, 450) < schedule.chance(history, 1_000)
    assert schedule.chance(history, 900, 900) == 0
    assert 0.3 < schedule.chance((), 3_600) < 0.6


MOMENTS = st.floats(0, 9 * HOUR, allow_nan=False)
LEFT = st.integers(0, 2_000)
SPEED = st.floats(0, 50)
SEEN = st.tuples(MOMENTS, st.integers(1, 2_000), st.integers(0, 2_000)).map(
    lambda told: BatchSeen(told[0], told[1], min(told[1:]))
)
EVENTS = st.one_of(
    st.builds(schedule.Tick, MOMENTS, LEFT),
    st.builds(schedule.Measured, MOMENTS, st.floats(0.01, 50)),
    st.builds(schedule.FlexSeen, MOMENTS, SPEED),
    st.builds(schedule.BatchesSeen, MOMENTS, LEFT, st.lists(SEEN, max_size=3).map(tuple)),
    st.builds(schedule.Ready, MOMENTS, LEFT),
    st.builds(schedule.Closed, MOMENTS, LEFT, LEFT),
    st.builds(schedule.Beside, MOMENTS, LEFT),
)
OFFERS = st.sampled_from([BOTH, BOTH[:1], BOTH[1:], (), (Offer("batch", None), Offer("flex", None))])


@settings(max_examples=100, deadline=None)
@given(OFFERS, st.lists(st.one_of(MOMENTS, st.just(inf)), max_size=5), st.booleans(), st.lists(EVENTS, max_size=25))
def test_whatever_happens(offers: tuple[Offer, ...], history: list[float], known: bool, events: list[Event]) -> None:
    """Times never go back, only offered tiers are named, and a deadline that is near is left to standard calls."""
    state = begun(terms(offers=offers, history=tuple(history)), speed=2.0 if known else None)
    for event in sorted(events, key=lambda event: event.at):
        before, state = state, schedule.step(state, event)
        assert state == schedule.step(before, event), "the same event, the same state"
        assert state.at >= before.at
        assert state.decided[: len(before.decided)] == before.decided
        assert state.tier == "standard" or offers
        assert state.tier in ("standard", *(offer.tier for offer in offers))
        free = state.terms.deadline_at - state.terms.reserve_s - state.at
        if state.left and state.speed and not state.measuring and not state.beside:
            needs = state.left / state.speed
            if state.tier == "batch":
                assert free >= needs, "batches are never waited for beyond what live calls need"
            if state.tier == "flex" and not state.closing:
                assert free >= needs or (state.flex_speed or 0.0) * free >= state.left, (
                    "nor is flex, unless it keeps up"
                )
    assert [one.at for one in state.decided] == sorted(one.at for one in state.decided)
