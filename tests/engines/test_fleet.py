"""Workers that are lost: their rows are answered by others, and what may have been paid for is counted."""

import asyncio
import os
import random
import tempfile
from collections.abc import Callable
from itertools import chain, repeat
from pathlib import Path

import pytest

from llmbatch.cli.crew import _for_workers
from llmbatch.engines.ray import Gone, cluster, fleet
from llmbatch.engines.ray.messages import Heard, Kit
from llmbatch.errors import Exit, Interrupted, ProviderDown
from llmbatch.halt import Halt
from llmbatch.providers.wrap import Cutter
from llmbatch.settings import Settings
from llmbatch.simulator import Fault, Latency, Scenario, Server, Simulator
from tests.engines.conftest import Night, Nights, rows
from tests.engines.near import NearLink

TEXTS = [f"The bridge over river number {n} was built in {1500 + n}." for n in range(120)]


def scenario(*faults: Fault, latency_ms: float = 0) -> Scenario:
    return Scenario(fault=faults, server=Server(brain="echo"), latency=Latency(median_ms=latency_ms))


def killing(nights: Nights, *at_s: float, most: int = 1) -> Callable[[Halt, Cutter], object]:
    """Kill workers at these seconds of the run."""
    rng = random.Random(1)

    def kill() -> None:
        alive = [link for link in nights.links if not link._gone.done()]
        for link in rng.sample(alive, min(most, len(alive))):
            link.kill()

    def soon(halt: Halt, cutter: Cutter) -> None:
        for seconds in at_s:
            asyncio.get_running_loop().call_later(seconds, kill)

    return soon


async def killing_on_the_way(nights: Nights, server: Simulator) -> None:
    """Kill one worker after every eight requests."""
    rng, wanted = random.Random(2), 8
    while True:
        while server.account.total.requests < wanted:
            await asyncio.sleep(0.01)
        rng.choice([link for link in nights.links if not link._gone.done()]).kill()
        wanted = server.account.total.requests + 8


def asked_no_more_than_counted(night: Night, server: Simulator, count: int) -> None:
    """Each row has one outcome, and nothing was asked that the run does not know of."""
    assert night.statuses() == {"done": count}
    sent = night.tally.sent
    assert server.account.total.requests <= sent == count + night.tally.possibly_paid


async def test_rows_of_a_lost_worker_are_answered_by_others_and_counted(tmp_path: Path) -> None:
    async with Simulator(scenario(latency_ms=200)) as server:
        nights = Nights(tmp_path, server.base_url, limits={"concurrency": 8}, workers=2)
        night = await nights.run(rows(TEXTS[:60]), meanwhile=killing(nights, 0.5))
        asked_no_more_than_counted(night, server, 60)
    assert len(nights.links) == 3
    assert 1 <= night.tally.possibly_paid <= 8  # what was let go, not all that the worker had in hand
    assert "a worker was lost (killed)" in " ".join(night.tally.notes)


@pytest.mark.slow
async def test_workers_lost_at_any_moment_cost_what_was_in_flight_and_no_row(tmp_path: Path) -> None:
    async with Simulator(scenario(Fault(kind="server_error", share=0.1), latency_ms=60)) as server:
        nights = Nights(tmp_path, server.base_url, limits={"concurrency": 6, "max_attempts": 20}, workers=3)
        killer = asyncio.create_task(killing_on_the_way(nights, server))
        night = await nights.run(rows(TEXTS))
        killer.cancel()
        failed = server.account.by_fault["server_error"].requests
    assert night.statuses() == {"done": len(TEXTS)}
    assert 0 < night.tally.possibly_paid <= 6 * (len(nights.links) - 3)
    assert server.account.total.requests <= night.tally.sent
    assert night.tally.sent - len(TEXTS) <= failed + night.tally.possibly_paid
    assert len(nights.links) > 10


@pytest.mark.slow
async def test_all_workers_lost_at_once_begin_again(tmp_path: Path) -> None:
    async with Simulator(scenario(latency_ms=100)) as server:
        nights = Nights(tmp_path, server.base_url, limits={"concurrency": 4}, workers=2)
        night = await nights.run(rows(TEXTS[:30]), meanwhile=killing(nights, 0.3, most=2))
        asked_no_more_than_counted(night, server, 30)


@pytest.mark.slow
async def test_a_row_that_ends_every_worker_fails_and_does_not_go_round_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Deadly(NearLink):
        async def hear(self) -> Heard:
            heard = await super().hear()
            for message in self.told:
                if "number 3 " in str(getattr(message, "request", "")):
                    self.kill()
            return heard

    monkeypatch.setattr("tests.engines.conftest.NearLink", Deadly)
    async with Simulator(scenario(Fault(kind="hang", match="number 3 "))) as server:
        nights = Nights(tmp_path, server.base_url, limits={"concurrency": 4, "max_attempts": 3}, workers=2)
        night = await nights.run(rows(TEXTS[:20]))
    assert night.statuses() == {"done": 19, "failed": 1}
    assert night.answers[3].failure == "connection"
    assert night.tally.failures == {"connection": 1}


async def test_a_reply_that_was_stored_before_its_worker_was_lost_serves_the_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Deaf(NearLink):
        """Killed when the driver has stored a reply, before the last word about it arrives."""

        async def tell(self, messages: list[object]) -> None:  # type: ignore[override]
            if any(type(message).__name__ == "Stored" for message in messages):
                self.kill()
                raise Gone("killed")
            await super().tell(messages)  # type: ignore[arg-type]

    kinds = chain([Deaf], repeat(NearLink))
    monkeypatch.setattr("tests.engines.conftest.NearLink", lambda: next(kinds)())  # noqa: PLW0108 - each time anew
    async with Simulator(scenario()) as server:
        nights = Nights(tmp_path, server.base_url, workers=1)
        night = await nights.run(rows(TEXTS[:1]))
        assert server.account.total.requests == 1
    assert (night.statuses(), night.tally.possibly_paid) == ({"done": 1}, 0)
    assert isinstance(nights.links[0], Deaf)
    assert nights.links[0]._gone.done()


async def test_a_machine_that_falls_silent_is_given_up_once_calls_are_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Silent(NearLink):
        async def hear(self) -> Heard:
            await self._gone
            raise Gone("killed")

    def soon(halt: Halt, cutter: Cutter) -> None:
        loop = asyncio.get_running_loop()
        loop.call_later(0.3, halt.stop, Interrupted(Exit.SIGINT))
        loop.call_later(0.4, cutter.cut)

    monkeypatch.setattr("tests.engines.conftest.NearLink", Silent)
    monkeypatch.setattr(fleet, "_CUT_S", 0.2)
    async with Simulator(scenario()) as server:
        nights = Nights(tmp_path, server.base_url, limits={"concurrency": 4}, workers=1)
        async with asyncio.timeout(20):
            night = await nights.run(rows(TEXTS[:20]), meanwhile=soon)
        assert server.account.total.requests == night.tally.possibly_paid == 4
    assert night.statuses() == {}


async def test_workers_that_are_lost_as_fast_as_they_start_end_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stillborn(NearLink):
        async def hear(self) -> Heard:
            raise Gone("out of memory")

    monkeypatch.setattr("tests.engines.conftest.NearLink", Stillborn)
    async with Simulator(scenario()) as server:
        nights = Nights(tmp_path, server.base_url, workers=2)
        async with asyncio.timeout(20):
            night = await nights.run(rows(TEXTS[:20]))
    assert isinstance(night.halt.reason, ProviderDown)
    assert "as fast as they start, the last one: out of memory" in night.halt.reason.message


async def test_one_limit_holds_for_all_workers(tmp_path: Path) -> None:
    async with Simulator(scenario(latency_ms=50)) as server:
        nights = Nights(tmp_path, server.base_url, limits={"concurrency": 5}, workers=4, in_flight=3)
        night = await nights.run(rows(TEXTS))
        assert server.account.peak_in_flight == 5
    assert night.statuses() == {"done": len(TEXTS)}


@pytest.mark.slow
async def test_the_retry_budget_is_that_of_the_run(tmp_path: Path) -> None:
    """Every call fails: retries stay within half of the first attempts, ten, and one a second, whoever makes them."""
    began = asyncio.get_running_loop().time()
    async with Simulator(scenario(Fault(kind="server_error"))) as server:
        nights = Nights(tmp_path, server.base_url, limits={"concurrency": 64, "outage_patience_s": 1.5}, workers=4)
        night = await nights.run(rows(TEXTS))
        took = asyncio.get_running_loop().time() - began
        assert isinstance(night.halt.reason, ProviderDown)
        first = len({served.key for served in server.account.requests})
        assert server.account.total.requests - first <= 0.5 * first + 10 + took


async def test_stragglers_are_hedged_on_workers_too(tmp_path: Path) -> None:
    fault = Fault(kind="hang", seconds=30, times=1, match="number 7 ")
    async with Simulator(scenario(fault, latency_ms=20)) as server:
        nights = Nights(tmp_path, server.base_url, limits={"hedge": True, "timeout_s": 20}, workers=2)
        async with asyncio.timeout(15):
            night = await nights.run(rows(TEXTS[:80]))
            while server.account.total.requests < 81:  # it counts the one that was given up when it notices
                await asyncio.sleep(0.02)
    assert night.statuses() == {"done": 80}
    assert night.tally.possibly_paid == 1


async def test_the_key_goes_by_the_environment_of_the_kit_and_is_in_no_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "sk-secret-1234567890")
    monkeypatch.setenv("HOME_TOKEN", "of another program")
    settings = Settings.model_validate({"request": {"model": "m"}, "provider": {"api_key_env": "MY_KEY"}})
    told, environment = _for_workers(settings)
    assert environment["MY_KEY"] == "sk-secret-1234567890"
    assert "HOME_TOKEN" not in environment
    assert "secret" not in repr(Kit(told, environment, 0.01))


def test_folders_of_runs_that_were_killed_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(cluster, "_LONGEST_TEMP", 1_000)
    kept = f"llmb-ray-{os.getpid()}-a"
    for name in (f"llmb-ray-{2**70}-a", "llmb-ray-999999999-a", kept):
        (tmp_path / name).mkdir()
    own = cluster._own_folder()
    assert {path.name for path in tmp_path.iterdir()} == {kept, Path(own).name}
