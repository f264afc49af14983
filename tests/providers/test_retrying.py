"""The one retry loop, in virtual time."""

import asyncio
from collections.abc import Callable
from itertools import pairwise

import pytest

from llmbatch.errors import Decision, Exit, Interrupted, RateLimited, Rejected, Transient
from llmbatch.halt import Halt
from llmbatch.limits import RetryBudget
from llmbatch.providers.retrying import Retrying
from llmbatch.settings import LimitSettings
from llmbatch.types import Reply, Request
from tests.limits.virtual import clock, run
from tests.providers.test_contract import ask


class Failing:
    """Raises what ``fault(number of the call, 1-based)`` says; stops with a Rejected when that is None."""

    def __init__(self, fault: Callable[[int], Decision | None]) -> None:
        self.fault = fault
        self.asked: list[tuple[float, int]] = []  #: when, attempts used

    async def call(self, request: Request) -> Reply:
        self.asked.append((clock(), request.attempts_used))
        raise self.fault(len(self.asked)) or Rejected("the end")

    async def close(self) -> None:
        pass


def tried(fault: Callable[[int], Decision | None], **limits: object) -> tuple[Failing, Decision]:
    """The calls that were made, and what it came to."""

    async def main() -> tuple[Failing, Decision]:
        inner = Failing(fault)
        settings = LimitSettings.model_validate(limits)
        retrying = Retrying(inner, settings, RetryBudget(), Halt(), clock=clock)
        with pytest.raises(Decision) as caught:
            await retrying.call(ask())
        return inner, caught.value

    return run(main)


def test_attempts_are_bounded_and_pauses_are_short_at_first() -> None:
    inner, fault = tried(lambda n: Transient(f"fault {n}"), max_attempts=4)
    assert [used for _, used in inner.asked] == [0, 1, 2, 3]
    assert fault.message == "fault 4"
    assert inner.asked[-1][0] <= 0.5 + 1 + 2


def test_a_named_wait_is_kept_with_a_jitter_of_a_tenth() -> None:
    inner, _ = tried(lambda n: Transient("busy", retry_after=10.0), max_attempts=30)
    times = [at for at, _ in inner.asked]
    waits = [later - at for at, later in pairwise(times)]
    assert 10 <= min(waits) < 10.5 < max(waits[:8]) <= 11.1


def test_429s_use_no_attempt_and_no_retry_and_the_gate_does_the_waiting() -> None:
    inner, _ = tried(lambda n: RateLimited("slow down", retry_after=60.0) if n <= 3 else None)
    assert [used for _, used in inner.asked] == [0, 0, 0, 0]
    assert inner.asked[-1][0] <= 0.31


def test_a_row_that_gets_nothing_but_429s_pauses_by_itself_and_fails_in_the_end() -> None:
    inner, fault = tried(lambda n: RateLimited("slow down"), outage_patience_s=900)
    assert fault.failure == "rate_limited"
    assert 990 <= inner.asked[-1][0] <= 1_100
    assert len(inner.asked) <= 150


def test_429s_between_faults_make_no_pause_longer() -> None:
    pauses = []
    for _ in range(50):
        inner, _ = tried(lambda n: RateLimited("slow down") if n <= 3 else Transient("x") if n == 4 else None)
        pauses.append(inner.asked[4][0] - inner.asked[3][0])
    assert max(pauses) <= 0.51


def test_a_run_that_is_told_to_stop_ends_the_pause() -> None:
    async def main() -> float:
        halt = Halt()
        inner = Failing(lambda n: Transient("busy", retry_after=1_000.0))
        retrying = Retrying(inner, LimitSettings(), RetryBudget(), halt, clock=clock)
        asyncio.get_running_loop().call_later(5, halt.stop, Interrupted(Exit.SIGTERM))
        with pytest.raises(Interrupted):
            await retrying.call(ask())
        return clock()

    assert run(main) == pytest.approx(5, abs=0.1)
