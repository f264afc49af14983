"""All limits together, as one state machine that hypothesis drives."""

import random
from math import isfinite

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from llmbatch.limits.calls import Admitted, Ended
from llmbatch.limits.changes import Changes
from llmbatch.limits.flow import Flow
from llmbatch.settings import LimitSettings

OUTCOMES = ["answered", "rate_limited", "overloaded", "transient", "timeout", "rejected", "refused", "cancelled"]


def test_calls_that_were_not_made_are_not_part_of_a_limit_that_is_found() -> None:
    changes = Changes(0.0)
    flow = Flow(LimitSettings(concurrency=50), random.Random(1), changes, 0.0)

    def call(outcome: str | None, now: float) -> None:
        admitted = flow.admit(int(now * 100), 1, now)
        if outcome is None:
            flow.give_back(admitted, now)
        else:
            flow.settle(admitted, Ended(outcome, None, {}, 0.01, None, None), now)

    call("rate_limited", 10.0)
    for n in range(1, 60):  # 10 a second come through, and three times as many give up waiting
        for _ in range(3):
            call(None, 10 + n / 10)
        call("rate_limited" if n % 12 == 0 else "answered", 10 + n / 10)
    told = [change.value for change in changes.list() if change.what == "requests_per_minute"]
    assert told == [pytest.approx(600, rel=0.15)]


class FlowMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now = 100.0
        self.calls: list[Admitted] = []
        self.row_no = 0

    @initialize(
        concurrency=st.sampled_from(["auto", 1, 5]),
        requests=st.sampled_from([None, 6.0, 600.0]),
        tokens=st.sampled_from([None, 1_000.0, 100_000.0]),
        seed=st.integers(0, 99),
    )
    def start(self, concurrency: str | int, requests: float | None, tokens: float | None, seed: int) -> None:
        limits = {"concurrency": concurrency, "requests_per_minute": requests, "tokens_per_minute": tokens}
        self.flow = Flow(LimitSettings.model_validate(limits), random.Random(seed), Changes(0.0), self.now)

    @rule(seconds=st.sampled_from([0.001, 0.5, 5.0, 100.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(tokens=st.integers(1, 1_000), calls=st.integers(1, 20))
    def admit(self, tokens: int, calls: int) -> None:
        for _ in range(calls):
            if self.flow.unfit(tokens) or self.flow.wait(tokens, self.now) > 0:
                return
            self.row_no += 1
            self.calls.append(self.flow.admit(self.row_no, tokens, self.now))
            assert self.flow.in_flight <= self.flow.slots.limit

    @rule(tokens=st.integers(1, 1_000))
    def wait_and_admit(self, tokens: int) -> None:
        wait = self.flow.wait(tokens, self.now)
        if isfinite(wait) and not self.flow.unfit(tokens):
            self.now += wait
            assert self.flow.wait(tokens, self.now) <= 1e-6, "a wait that was kept is enough"

    @precondition(lambda self: bool(self.calls))
    @rule(data=st.data(), outcome=st.sampled_from(OUTCOMES), all_of_them=st.booleans())
    def settle(self, data: st.DataObject, outcome: str, all_of_them: bool) -> None:
        retry_after = data.draw(st.sampled_from([None, 0.5, 30.0]))
        used = data.draw(st.sampled_from([None, 0, 10, 5_000]))
        limit = data.draw(st.sampled_from([None, "60", "6000"]))
        headers = {} if limit is None else {"x-ratelimit-limit-requests": limit, "x-ratelimit-remaining-requests": "3"}
        for _ in range(len(self.calls) if all_of_them else 1):
            call = self.calls.pop(data.draw(st.integers(0, len(self.calls) - 1)) if not all_of_them else 0)
            self.flow.settle(call, Ended(outcome, used, headers, 0.5, retry_after, 10), self.now)

    @precondition(lambda self: bool(self.calls))
    @rule()
    def give_back(self) -> None:
        self.flow.give_back(self.calls.pop(), self.now)

    @invariant()
    def counts_hold(self) -> None:
        if not hasattr(self, "flow"):
            return
        assert self.flow.in_flight == len(self.calls)
        assert 1 <= self.flow.slots.limit <= 1_000
        assert self.flow.silent_s(self.now) >= 0

    @invariant()
    def nobody_waits_for_ever(self) -> None:
        """Without a call in flight, every wait ends by time alone."""
        if not hasattr(self, "flow"):
            return
        wait = self.flow.wait(1, self.now)
        assert wait >= 0
        if not self.calls:
            assert wait <= 100, "the longest named pause, a minute's debt and the rest"


TestFlow = FlowMachine.TestCase
TestFlow.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
