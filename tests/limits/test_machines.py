"""The rate limiter and the retry budget, each as a state machine that hypothesis drives under a clock of its own."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from llmbatch.limits import RetryBudget
from llmbatch.limits.bucket import Bucket
from llmbatch.limits.headers import Allowance

SECONDS = st.sampled_from([0.001, 0.1, 1.0, 7.0, 90.0])
AMOUNTS = st.integers(1, 3_000)
PER_MINUTE = st.sampled_from([None, 60.0, 600.0, 20_000.0])


class BucketMachine(RuleBasedStateMachine):
    """Whatever is asked, told and given back: never more goes than the rate in force let through, and none starves."""

    @initialize(per_minute=PER_MINUTE, share=st.sampled_from([0.1, 0.5, 1.0]))
    def start(self, per_minute: float | None, share: float) -> None:
        self.now = 0.0
        self.bucket = Bucket(per_minute, share, self.now)
        self.reserved: list[int] = []
        self.begin_anew()

    def begin_anew(self) -> None:
        """Count from here, with a full bucket at most: what went before was within another limit, or none."""
        self.net, self.let_through, self.largest = 0.0, max(1.0, (self.bucket.kept_up or 0.0) / 60), 1.0

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        self.let_through += seconds * (self.bucket.kept_up or 0.0) / 60

    @rule(seconds=SECONDS)
    def time_passes(self, seconds: float) -> None:
        before = self.bucket.wait(50, self.now)
        self.pass_time(seconds)
        assert self.bucket.wait(50, self.now) <= max(0.0, before - seconds) + 1e-6, "waiting gets nobody further away"

    @rule(amount=AMOUNTS)
    def wait_and_take(self, amount: int) -> None:
        if amount > (self.bucket.kept_up or amount):
            return
        wait = self.bucket.wait(amount, self.now)
        full = max(1.0, 60 / (self.bucket.kept_up or 60))
        assert wait <= 60 + full + 1e-6, "a debt is a minute's at most, and then the bucket is to fill"
        self.pass_time(wait)
        assert self.bucket.wait(amount, self.now) <= 1e-6, "a wait that was kept is enough"
        self.bucket.take(amount, self.now)
        self.net += amount
        self.largest = max(self.largest, amount)
        self.reserved.append(amount)

    @precondition(lambda self: bool(self.reserved))
    @rule(part=st.floats(0, 1))
    def less_was_used(self, part: float) -> None:
        amount = self.reserved.pop()
        self.bucket.settle(amount, int(part * amount), self.now)
        self.net -= amount - int(part * amount)

    @precondition(lambda self: bool(self.reserved))
    @rule(beyond=AMOUNTS)
    def more_was_used(self, beyond: int) -> None:
        amount, before = self.reserved.pop(), self.bucket.wait(1, self.now)
        self.bucket.settle(amount, amount + beyond, self.now)
        assert self.bucket.wait(1, self.now) >= before, "what was used beyond the estimate is paid back first"

    @rule(limit=PER_MINUTE, remaining=st.sampled_from([None, 0.0, 5.0, 1e6]))
    def an_answer_tells(self, limit: float | None, remaining: float | None) -> None:
        before = self.bucket.kept_up
        self.bucket.learn(Allowance(limit, remaining, 1.0), self.now)
        if self.bucket.kept_up != before:
            self.begin_anew()

    @rule(per_minute=PER_MINUTE)
    def a_pace_is_found(self, per_minute: float | None) -> None:
        before = self.bucket.kept_up
        self.bucket.pace(per_minute, self.now)
        if self.bucket.kept_up != before:
            self.begin_anew()

    @invariant()
    def no_more_goes_than_the_rate_lets_through(self) -> None:
        if self.bucket.kept_up is not None:
            assert self.net <= self.let_through + self.largest + 1e-6


class RetryBudgetMachine(RuleBasedStateMachine):
    """Retries that went ahead are bounded by first attempts and time, in whatever order they come."""

    def __init__(self) -> None:
        super().__init__()
        self.budget, self.now, self.first = RetryBudget(), 0.0, 0
        self.gone: list[float] = []  #: when each retry goes ahead

    @rule(seconds=SECONDS)
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(rows=st.integers(1, 30))
    def rows_are_asked(self, rows: int) -> None:
        for _ in range(rows):
            self.budget.first_attempt(self.now)
        self.first += rows

    @rule(rows=st.integers(1, 30))
    def rows_fail(self, rows: int) -> None:
        for _ in range(rows):
            wait = self.budget.take(self.now)
            assert wait <= len(self.gone) + 1, "a retry a second at least, whoever else waits"
            self.gone.append(self.now + wait)

    @invariant()
    def retries_are_bounded(self) -> None:
        assert sum(at <= self.now for at in self.gone) <= 0.5 * self.first + 10 + self.now + 1e-6


TestBucket = BucketMachine.TestCase
TestBucket.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestRetryBudget = RetryBudgetMachine.TestCase
TestRetryBudget.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
