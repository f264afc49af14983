"""The adaptive limit against simulated servers, in virtual time."""

import random
from statistics import median

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from llmbatch.limits import Gate
from llmbatch.limits.calls import Admitted, Ended
from llmbatch.limits.changes import Changes
from llmbatch.limits.concurrency import CEILING, START, Adaptive, Fixed
from llmbatch.limits.latency import Baseline, Sample
from llmbatch.settings import LimitSettings
from tests.limits.virtual import Server, clock, drive, run


def measure(server: Server, until: float, **limits: object) -> tuple[Server, Gate]:
    async def main() -> Gate:
        gate = Gate(LimitSettings.model_validate(limits), clock=clock, rng=server.rng)
        await drive(gate, server, until=until)
        return gate

    return server, run(main)


def speed(server: Server, start: float, end: float) -> tuple[float, float]:
    """Answers a second, and the median latency, within a span."""
    return server.answered(start, end) / (end - start), median(took for at, _, took in server.ended if at > start)


@pytest.mark.parametrize("seed", [1, 2, pytest.param(3, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("slots", "sigma"), [(32, 0.0), (32, 0.3), (32, 0.6), (100, 0.5)])
def test_finds_the_knee_of_a_server_that_only_gets_slower(slots: int, sigma: float, seed: int) -> None:
    def server() -> Server:
        return Server(random.Random(seed), slots=slots, median_s=0.5, sigma=sigma)

    best = speed(measure(server(), 120, concurrency=slots)[0], 20, 120)
    found = speed(measure(server(), 120)[0], 20, 120)
    assert found[0] >= 0.95 * best[0]
    assert found[1] <= 1.5 * best[1]


@pytest.mark.parametrize(("sigma", "part"), [(0.3, 0.95), (0.6, 0.92)])
def test_comes_down_on_a_server_smaller_than_the_start(sigma: float, part: float) -> None:
    def server() -> Server:
        return Server(random.Random(1), slots=4, sigma=sigma)

    best = speed(measure(server(), 200, concurrency=4)[0], 10, 200)
    found = speed(measure(server(), 200)[0], 10, 200)
    assert found[0] >= part * best[0]
    assert found[1] <= 1.5 * best[1]


def test_one_slow_round_cuts_nothing_and_two_do() -> None:
    slots, now = Adaptive(Changes(0.0), 0.0), 0.0

    def round_of(latency_s: float) -> None:
        nonlocal now
        before = slots._round
        while slots._round is before:
            now += 1.0
            slots.settled(Admitted(0, 1, now), Ended("answered", 1, {}, latency_s, None, None), slots.limit, now)

    while slots.limit < 64:
        round_of(0.5)
    round_of(1.0)  # ends the doubling
    held = slots.limit
    round_of(0.7)
    assert slots.limit == held
    round_of(0.6)
    round_of(0.7)
    assert slots.limit == held
    round_of(0.7)
    assert slots.limit < held


class AdaptiveMachine(RuleBasedStateMachine):
    """Any calls, ending in any way, at any time."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.changes = Changes(0.0)
        self.slots = Adaptive(self.changes, 0.0)
        self.used = False  #: since the limit last moved

    @rule(seconds=st.sampled_from([0.0, 0.01, 1.0, 500.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(
        outcome=st.sampled_from(["answered", "answered", "rate_limited", "overloaded", "transient", "timeout"]),
        latency_s=st.sampled_from([0.0, 0.1, 0.5, 2.0, 60.0]),
        tokens=st.sampled_from([None, 0, 10, 10_000]),
        calls=st.integers(1, 400),
        used=st.sampled_from([0.1, 1.0]),
    )
    def calls_end(self, outcome: str, latency_s: float, tokens: int | None, calls: int, used: float) -> None:
        for _ in range(calls):
            call = Admitted(0, 1, self.now)
            before = self.slots.limit
            in_flight = max(1, int(used * before))
            self.used |= in_flight >= 0.8 * before
            ended = Ended(outcome, None, {}, latency_s, None, tokens)
            self.slots.settled(call, ended, in_flight, self.now + latency_s)
            if self.slots.limit > before:
                assert outcome == "answered", "nothing but answers lets it grow"
                assert self.used, "and only while it is used"
                assert self.slots.limit <= 2 * max(before, START)
            self.used &= self.slots.limit == before
        self.now += latency_s

    @rule()
    def begins_again(self) -> None:
        self.slots.restart("again", self.now)
        assert self.slots.limit <= START

    @invariant()
    def within_bounds(self) -> None:
        assert 1 <= self.slots.limit <= CEILING
        assert all(change.reason for change in self.changes.list())


TestAdaptive = AdaptiveMachine.TestCase
TestAdaptive.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)


@pytest.mark.parametrize("outcome", ["rate_limited", "overloaded"])
@pytest.mark.parametrize("at_once", [4, 8, 60])
def test_finds_what_a_server_bears_that_refuses_more(at_once: int, outcome: str) -> None:
    server = Server(random.Random(1), slots=1_000, sigma=0.3)
    server.fault = lambda at, row_no: outcome if server.busy >= at_once else None
    _, gate = measure(server, 150)
    late = [ended for at, ended, _ in server.ended if at > 10]
    assert late.count(outcome) <= 0.01 * len(late)
    assert server.answered(10, 150) >= 0.93 * 140 * at_once / 0.523
    assert any(f"above {at_once} at once" in change.reason for change in gate.changes)


def test_a_limit_a_minute_is_no_limit_on_calls_at_once() -> None:
    server = Server(random.Random(1), per_minute=600, burst=10, sigma=0.3)
    _, gate = measure(server, 60)
    assert server.count("rate_limited") > 2
    assert not any("at once" in change.reason for change in gate.changes)


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize(
    ("says", "per_minute", "burst", "most_429s"),
    [("", 600, 10, 0.02), ("exact", 600, 10, 0.02), ("exact", 6_000, 100, 0.015)],
)
def test_a_limit_that_nothing_names_is_found_with_few_429s(
    says: str, per_minute: float, burst: float, most_429s: float, seed: int
) -> None:
    server = Server(random.Random(seed), median_s=0.4, sigma=0.4, per_minute=per_minute, burst=burst, says=says)
    measure(server, 120)
    assert server.count("rate_limited") <= most_429s * len(server.ended)
    assert server.answered(10, 120) >= 0.97 * 110 * per_minute / 60


@pytest.mark.parametrize("seed", [1, 2])
def test_a_limit_a_minute_is_found_where_answers_are_slow(seed: int) -> None:
    server = Server(random.Random(seed), median_s=5, sigma=0.4, per_minute=600, burst=10, says="exact")
    measure(server, 300)
    assert server.count("rate_limited") <= 0.025 * len(server.ended)
    assert server.answered(120, 300) >= 0.8 * 180 * 10


def test_new_slots_do_not_fill_all_at_once() -> None:
    server = Server(random.Random(1), median_s=5)
    measure(server, 40)
    first, *later = (sum(at <= asked < at + 0.5 for asked in server.asked) for at in range(40))
    assert first == 8
    assert max(later) <= 8, "not the 16 of the second doubling"


def test_grows_while_nothing_slows_down() -> None:
    _, gate = measure(Server(random.Random(1), sigma=0.3), 20)
    assert gate.concurrency >= 256


def test_does_not_grow_unused() -> None:
    def call(adaptive: Adaptive, now: float, in_flight: int) -> None:
        adaptive.settled(Admitted(0, 1, now - 0.5), Ended("answered", 1, {}, 0.5, None, None), in_flight, now)

    idle, busy = (Adaptive(Changes(0.0), 0.0) for _ in range(2))
    for n in range(1_000):
        call(idle, n + 1.0, 6)
        call(busy, n + 1.0, 7)
    assert idle.limit == 8
    assert busy.limit > 8


def settle(slots: Adaptive, outcome: str, admitted_at: float, now: float, *, probe: bool = False) -> None:
    slots.settled(Admitted(0, 1, admitted_at, probe), Ended(outcome, None, {}, 0.5, None, None), slots.limit, now)


def grown() -> Adaptive:
    slots, now = Adaptive(Changes(0.0), 0.0), 0.0
    while slots.limit < 64:
        now += 1.0
        settle(slots, "answered", now - 0.5, now)
    return slots


@pytest.mark.parametrize("outcome", ["rate_limited", "overloaded", "timeout"])
def test_cuts_once_an_episode(outcome: str) -> None:
    slots = grown()
    for n in range(60):
        settle(slots, outcome, 900.0, 1_000.0 + n / 100)
    assert slots.limit == 48
    for n in range(20):
        settle(slots, outcome, 1_002.0, 1_002.5 + n / 100)
    assert slots.limit == 36


def test_5xx_stop_growth_and_cut_nothing() -> None:
    slots = grown()
    for n in range(2_000):
        settle(slots, "transient" if n > 100 and n % 3 == 0 else "answered", 1_000.0 + n, 1_000.5 + n)
        if 100 < n < 200:
            assert slots.limit in (64, 128)
    assert slots.limit >= 64


def test_the_refusals_of_probes_cut_nothing() -> None:
    slots = grown()
    for n in range(100):
        settle(slots, "rate_limited", 1_000.0 + n, 1_000.5 + n, probe=True)
    assert slots.limit == 64


def test_begins_low_after_an_outage_and_comes_back_to_three_quarters() -> None:
    slots = grown()
    slots.restart("again", 1_000.0)
    assert slots.limit == 8
    now = 1_000.0
    while slots.limit < 48:
        now += 0.5
        settle(slots, "answered", now - 0.4, now)
    assert slots.limit == 48
    assert now < 1_060


@pytest.mark.parametrize("outcome", ["overloaded", "rate_limited", "transient"])
def test_a_steady_share_of_faults_is_not_load(outcome: str) -> None:
    rng = random.Random(4)
    slots, now = grown(), 1_000.0
    for _ in range(6_000):
        now += 0.01
        settle(slots, outcome if rng.random() < 0.3 else "answered", now - 0.005, now)
    assert slots.limit >= 24


def answers(rng: random.Random, tokens: tuple[int, ...], slower: float = 1.0) -> list[Sample]:
    """Latencies of a server that takes 0.5 s and 20 ms a token, give or take a fifth."""
    drawn = [rng.choice(tokens) for _ in range(200)]
    return [(slower * (0.5 + 0.02 * n) * rng.lognormvariate(0, 0.2), n) for n in drawn]


@pytest.mark.parametrize("slower", [1.0, 1.5])
def test_longer_answers_are_not_load(slower: float) -> None:
    rng, baseline = random.Random(1), Baseline()
    assert not baseline.known
    baseline.fit(answers(rng, (10, 40, 100)))
    assert baseline.ratio(answers(rng, (150, 300), slower)) == pytest.approx(slower, rel=0.12)
    assert baseline.ratio(answers(rng, (5,), slower)) == pytest.approx(slower, rel=0.12)


def test_without_token_counts_the_median_is_the_yardstick() -> None:
    baseline = Baseline()
    baseline.fit([(1.0, 0), (2.0, 0), (9.0, 0)])
    assert baseline.ratio([(4.0, 0)]) == pytest.approx(2.0)
    baseline.scale(2.0)
    assert baseline.ratio([(4.0, 0)]) == pytest.approx(1.0)


def test_answers_in_no_time_are_no_trouble() -> None:
    slots = Adaptive(Changes(0.0), 0.0)
    for n in range(20_000):
        slots.settled(Admitted(0, 1, n + 1.0), Ended("answered", 1, {}, 0.0, None, None), slots.limit, n + 1.0)
    assert slots.limit == 1_000


def test_the_yardstick_follows_a_server_that_became_slower() -> None:
    server = Server(random.Random(1), slots=32, sigma=0.3)
    faster = server.median_s

    async def main() -> float:
        gate = Gate(LimitSettings(), clock=clock, rng=server.rng)
        await drive(gate, server, until=60)
        server.median_s = 3 * faster
        await drive(gate, server, until=400)
        return server.answered(200, 400) / 200

    assert run(main) >= 0.95 * 32 / (3 * faster * 1.046)


def test_fixed_is_fixed() -> None:
    slots = Fixed(5)
    slots.settled(Admitted(0, 1, 0.0), Ended("rate_limited", None, {}, 0.1, None, None), 5, 1.0)
    slots.restart("again", 2.0)
    assert slots.limit == 5


def test_every_change_has_its_reason_and_the_list_is_bounded() -> None:
    told: list[str] = []
    changes = Changes(100.0, told.append)
    for n in range(500):
        changes.add(101.0 + n, "concurrency", n, "because")
    assert len(told) == 500
    kept = changes.list()
    assert len(kept) == 200
    assert (kept[-1].at, kept[-1].value) == (500.0, 499)
    assert told[0] == "concurrency 0: because"
    changes.add(700.0, "breaker", 1, "it failed")
    changes.add(700.0, "pause", 2.5, "rate limited")
    assert told[-2:] == ["breaker open: it failed", "pause 2.5 s: rate limited"]
