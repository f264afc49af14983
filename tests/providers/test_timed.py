"""How long an attempt may take, as the run learns it."""

import asyncio
import random
from collections.abc import Callable
from dataclasses import replace

import pytest

from llmbatch.errors import TimedOut
from llmbatch.providers import timed as module
from llmbatch.providers.timed import CutShort, Flight, Latencies, Patience, Timed
from llmbatch.types import Reply, Request
from tests.providers.test_contract import ask

CAP_S = 3_600.0


class Slow:
    """A provider that answers after so many seconds, or with a fault of its own."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.fault: TimedOut | None = None

    async def call(self, request: Request) -> Reply:
        await asyncio.sleep(self.seconds)
        if self.fault is not None:
            raise self.fault
        return Reply("{}", None, None, None, None, None, None)

    async def close(self) -> None: ...


def timeouts(patience: Patience, draw: Callable[[], float], calls: int) -> int:
    """How many of so many calls run out of time, when every one is told to ``patience``."""
    late = 0
    for _ in range(calls):
        took = draw()
        late += took > patience.limit_s
        patience.saw(min(took, patience.limit_s))
    return late


def lognormal(seed: int, median: float, sigma: float) -> Callable[[], float]:
    rng = random.Random(seed)
    return lambda: median * rng.lognormvariate(0, sigma)


def test_the_time_is_a_multiple_of_the_slowest_percent() -> None:
    patience = Patience(CAP_S)
    draw = lognormal(1, 8, 0.5)  # p99 at 25.6 s
    timeouts(patience, draw, 49)
    assert patience.limit_s == CAP_S
    timeouts(patience, draw, 1951)
    assert patience.limit_s == pytest.approx(4 * 25.6, rel=0.25)


def test_it_is_neither_below_its_floor_nor_above_the_cap() -> None:
    quick, slow = Patience(60), Patience(60)
    timeouts(quick, lambda: 0.2, 100)
    timeouts(slow, lambda: 40.0, 100)
    assert (quick.limit_s, slow.limit_s) == (10.0, 60)


@pytest.mark.parametrize("before", [60, 1_000, 100_000])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_server_that_becomes_ten_times_slower_is_soon_waited_for(before: int, seed: int) -> None:
    patience = Patience(CAP_S)
    timeouts(patience, lognormal(seed, 8, 0.2), before)
    assert patience.limit_s < 80, "or the shift is not felt"
    slower = lognormal(seed, 80, 0.2)
    assert 0 < timeouts(patience, slower, 200) <= 100
    assert timeouts(patience, slower, 5_000) == 0


def test_a_server_that_becomes_quick_again_is_believed_again() -> None:
    patience = Patience(CAP_S)
    timeouts(patience, lognormal(1, 80, 0.2), 5_000)
    timeouts(patience, lognormal(1, 8, 0.2), 1_000)
    assert patience.limit_s < 80


def test_memory_is_bounded_and_old_latencies_are_forgotten() -> None:
    latencies = Latencies()
    for n in range(10_000):
        latencies.add(n + 1.0)
        assert len(latencies) <= 1_000
    assert latencies.quantile(0.01) == pytest.approx(9_500, rel=0.07)


async def test_a_hang_ends_sooner_once_the_run_knows_better(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_FLOOR_S", 0.2)
    provider = Slow()
    timed = Timed(provider, timeout_s=60)
    await asyncio.gather(*(timed.call(ask()) for _ in range(50)))
    provider.seconds = 10
    with pytest.raises(TimedOut, match=r"no whole answer in 0\.2 s; other calls of this run take far less") as caught:
        await timed.call(ask())
    assert type(caught.value) is TimedOut
    assert caught.value.possibly_paid
    assert caught.value.latency_s == pytest.approx(0.2, abs=0.1)
    assert len(timed.latencies) == 51


async def test_calls_in_flight_get_the_longer_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_FLOOR_S", 0.3)
    provider = Slow()
    timed = Timed(provider, timeout_s=60)
    await asyncio.gather(*(timed.call(ask()) for _ in range(50)))
    provider.seconds = 0.6
    first = [asyncio.create_task(timed.call(ask())) for _ in range(50)]
    await asyncio.sleep(0.15)
    later = [asyncio.create_task(timed.call(ask())) for _ in range(50)]
    ended = await asyncio.gather(*first, return_exceptions=True)
    assert all(isinstance(end, TimedOut) for end in ended)
    await asyncio.gather(*later)


async def test_calls_at_a_tier_of_their_own_are_hurried_and_then_have_time_again() -> None:
    provider = Slow()
    provider.seconds = 0.3
    timed = Timed(provider, timeout_s=0.1, flex_s=5)
    flex = replace(ask(), tier="flex")
    await timed.call(flex)
    timed.hurry(True)
    with pytest.raises(TimedOut):
        await timed.call(flex)
    timed.hurry(False)
    await timed.call(flex)


async def test_a_timeout_of_the_provider_is_a_latency_as_well() -> None:
    provider = Slow()
    provider.fault = TimedOut("no answer in time")
    timed = Timed(provider, timeout_s=60)
    for _ in range(50):
        with pytest.raises(TimedOut, match="no answer in time"):
            await timed.call(ask())
    assert len(timed.latencies) == 50


async def test_calls_that_are_cut_short_say_why_and_teach_nothing() -> None:
    provider = Slow()
    provider.seconds = 10
    timed = Timed(provider, timeout_s=60)
    calls = [asyncio.create_task(timed.call(ask())) for _ in range(3)]
    await asyncio.sleep(0.05)
    timed.cut()
    timed.cut()
    ended = await asyncio.gather(*calls, return_exceptions=True)
    assert [(type(e), e.possibly_paid) for e in ended if isinstance(e, CutShort)] == [(CutShort, True)] * 3
    assert "the run ends" in str(ended[0])
    assert len(timed.latencies) == 0
    timed.cut()


class Heard:
    """A watcher that remembers."""

    def __init__(self) -> None:
        self.flights: list[tuple[Request, Flight]] = []
        self.replies: list[Request] = []

    def sent(self, request: Request, flight: Flight) -> None:
        self.flights.append((request, flight))

    def answered(self, request: Request) -> None:
        self.replies.append(request)


async def test_a_watcher_hears_of_calls_and_can_end_them() -> None:
    provider, heard = Slow(), Heard()
    timed = Timed(provider, timeout_s=60)
    timed.watcher = heard
    await timed.call(ask("a quick row"))
    provider.seconds = 10
    call = asyncio.create_task(timed.call(ask("a slow row")))
    await asyncio.sleep(0.05)
    [(_, over), (request, flight)] = heard.flights
    assert request == ask("a slow row")
    assert asyncio.get_running_loop().time() - flight.sent_at == pytest.approx(0.05, abs=0.04)
    assert over.over
    over.cut("it is over")
    flight.cut("it is not needed")
    with pytest.raises(CutShort, match="it is not needed"):
        await call
    assert heard.replies == [ask("a quick row")]
