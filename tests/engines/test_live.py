"""The way of a row: who is asked, how often, and what is kept."""

import asyncio
import gc
import time
from decimal import Decimal
from pathlib import Path

import duckdb
import pytest

from llmbatch.engines import live
from llmbatch.errors import BudgetReached, Exit, Interrupted, ProviderDown, StorageError
from llmbatch.halt import Halt
from llmbatch.providers.wrap import Cutter
from llmbatch.simulator import Fault, Latency, Scenario, Server, Simulator
from llmbatch.types import Row
from tests.engines.conftest import Nights, rows

pytestmark = pytest.mark.usefixtures("engine")

TEXTS = [f"The harbour of town number {n} was closed for {n} days." for n in range(40)]


def scenario(*faults: Fault, latency_ms: float = 0) -> Scenario:
    return Scenario(fault=faults, server=Server(brain="echo"), latency=Latency(median_ms=latency_ms))


async def test_every_row_is_asked_once_and_a_second_run_asks_nothing(tmp_path: Path) -> None:
    async with Simulator(scenario()) as server:
        nights = Nights(tmp_path, server.base_url)
        first = await nights.run(rows(TEXTS))
        assert first.statuses() == {"done": 40}
        assert server.account.total.requests == 40
        second = await nights.run(rows(TEXTS))
        assert second.statuses() == {"reused": 40}
        assert server.account.total.requests == 40
    assert {n: a.raw for n, a in first.answers.items()} == {n: a.raw for n, a in second.answers.items()}


async def test_a_row_leaves_nothing_to_the_garbage_collector(tmp_path: Path) -> None:
    """What refers to itself stays until the collector comes, and that holds the event loop for up to seconds."""
    async with Simulator(scenario()) as server:
        nights = Nights(tmp_path, server.base_url)
        gc.collect()
        gc.disable()
        try:
            await nights.run(rows(TEXTS[:5]))
            few = gc.collect()
            await nights.run(rows(f"Another {text}" for text in TEXTS))
            many = gc.collect()
        finally:
            gc.enable()
    assert many - few < 10 * len(TEXTS), (few, many)


async def test_a_second_night_asks_only_what_is_new_or_changed(tmp_path: Path) -> None:
    async with Simulator(scenario()) as server:
        nights = Nights(tmp_path, server.base_url)
        await nights.run(rows(TEXTS))
        texts = ["A new row came in first.", *TEXTS[:10], "An edited row.", *TEXTS[11:]]
        second = await nights.run(rows(texts))
        assert second.statuses() == {"reused": 39, "done": 2}
        assert server.account.total.requests == 42


_SLOW = [pytest.param(rows, chars, marks=pytest.mark.slow) for rows in (1, 2, 3, 40) for chars in (1, 100, 10_000)]


@pytest.mark.parametrize(("open_rows", "chars"), [(7, 1), (3, 100), *_SLOW])
async def test_rows_that_are_held_back_are_looked_up_before_anything_waits_for_them(
    tmp_path: Path, open_rows: int, chars: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the room for rows and prompts: new rows between stored ones, prompts longer than all of the room."""
    monkeypatch.setattr(live, "_CHUNK_CHARS", chars)
    monkeypatch.setattr(live, "_OPEN_CHARS", 4 * chars)
    async with Simulator(scenario()) as server, asyncio.timeout(30):
        nights = Nights(tmp_path, server.base_url, open_rows=open_rows)
        await nights.run(rows(TEXTS[:12]))
        texts = [text for stored in TEXTS[:12] for text in (stored, f"New beside it: {stored} {stored}")]
        second = await nights.run(rows(texts))
        assert second.statuses() == {"reused": 12, "done": 12}
        assert server.account.total.requests == 24


async def test_the_first_reply_that_is_valid_serves_though_another_did_last_night(tmp_path: Path) -> None:
    strict = [["too dull"], []]
    async with Simulator(scenario()) as server:
        nights = Nights(tmp_path, server.base_url, check=lambda output, row: strict.pop(0))
        first = await nights.run(rows(TEXTS[:1]))
        assert (server.account.total.requests, strict) == (2, [])
        nights.check = None
        second = await nights.run(rows(TEXTS[:1]))
    assert second.statuses() == {"reused": 1}
    with duckdb.connect(tmp_path / "l.duckdb") as con:
        served = con.execute("select seq from outcomes order by run_no").fetchall()
    assert (first.statuses(), served) == ({"done": 1}, [(2,), (1,)])


async def test_identical_rows_are_asked_once(tmp_path: Path) -> None:
    async with Simulator(scenario(latency_ms=50)) as server:
        night = await Nights(tmp_path, server.base_url).run(rows(TEXTS[:3] * 30))
        assert server.account.total.requests == 3
        assert night.statuses() == {"done": 3, "reused": 87}
    assert [night.answers[n].status for n in range(5)] == ["done", "done", "done", "reused", "reused"]
    assert [night.answers[n].cost_usd for n in (3, 89)] == [0, 0]


async def test_twins_share_the_fault_of_their_leader(tmp_path: Path) -> None:
    async with Simulator(scenario(Fault(kind="bad_request"), latency_ms=20)) as server:
        night = await Nights(tmp_path, server.base_url).run(rows(TEXTS[:1] * 20))
        assert server.account.total.requests == 1
    assert night.statuses() == {"failed": 20}
    assert night.tally.failures == {"rejected": 20}


async def test_an_invalid_answer_is_asked_again_with_its_problems(tmp_path: Path) -> None:
    fault = Fault(kind="wrong_shape", times=1, match="number 7 ")
    async with Simulator(scenario(fault)) as server:
        night = await Nights(tmp_path, server.base_url).run(rows(TEXTS))
        assert night.statuses() == {"done": 40}
        assert server.account.total.requests == 41
        reasked = [r for r in server.account.requests if r.fault == "wrong_shape"]
        assert len(reasked) == 1
    assert (night.tally.valid, night.tally.invalid) == (40, 1)


async def test_attempts_that_brought_no_reply_count_in_later_runs_too(tmp_path: Path) -> None:
    """Three attempts are a 500 and two invalid replies; the next run has none left, though two replies are stored."""
    faults = Fault(kind="server_error", times=1, retry_after_s=0.01, retry_after_form="seconds")
    async with Simulator(scenario(faults, Fault(kind="wrong_shape"))) as server:
        nights = Nights(tmp_path, server.base_url)
        assert (await nights.run(rows(TEXTS[:5]))).statuses() == {"failed": 5}
        assert server.account.total.requests == 15
        assert (await nights.run(rows(TEXTS[:5]))).statuses() == {"failed": 5}
        assert server.account.total.requests == 15


async def test_a_row_that_stays_invalid_fails_and_is_not_asked_again_until_told(tmp_path: Path) -> None:
    fault = Fault(kind="wrong_shape", match="number 7 ")
    async with Simulator(scenario(fault)) as server:
        nights = Nights(tmp_path, server.base_url)
        first = await nights.run(rows(TEXTS))
        assert first.statuses() == {"done": 39, "failed": 1}
        assert first.tally.failures == {"schema": 1}
        assert first.answers[7].raw is not None
        assert server.account.total.requests == 39 + 3
        second = await nights.run(rows(TEXTS))
        assert second.statuses() == {"reused": 39, "failed": 1}
        assert server.account.total.requests == 42
        nights.retry_failed = frozenset({"check"})
        await nights.run(rows(TEXTS))
        assert server.account.total.requests == 42
        nights.retry_failed = frozenset({"schema"})
        third = await nights.run(rows(TEXTS))
        assert third.statuses() == {"reused": 39, "failed": 1}
        assert server.account.total.requests == 45


async def test_a_refusal_is_final_and_a_rejection_is_remembered(tmp_path: Path) -> None:
    faults = Fault(kind="refusal", match="number 7 "), Fault(kind="context_length", match="number 8 ")
    async with Simulator(scenario(*faults)) as server:
        nights = Nights(tmp_path, server.base_url)
        for _ in range(2):
            night = await nights.run(rows(TEXTS))
            assert night.tally.failures == {"refusal": 1, "context_length": 1}
            assert server.account.total.requests == 40


async def test_what_failed_for_the_provider_is_asked_again_by_the_next_run(tmp_path: Path) -> None:
    fault = Fault(kind="server_error", status=500, match="number 7 ", times=3)
    async with Simulator(scenario(fault)) as server:
        nights = Nights(tmp_path, server.base_url)
        first = await nights.run(rows(TEXTS))
        assert first.tally.failures == {"transient": 1}
        assert first.tally.attempts["transient"] == 3
        second = await nights.run(rows(TEXTS))
        assert second.statuses() == {"reused": 39, "done": 1}


async def test_an_edited_check_judges_stored_replies_again_for_free(tmp_path: Path) -> None:
    async with Simulator(scenario()) as server:
        nights = Nights(tmp_path, server.base_url)
        await nights.run(rows(TEXTS))
        nights.check = lambda output, row: ["no"] if row["id"] == "r5" else []
        nights.limits = {"max_attempts": 1}
        second = await nights.run(rows(TEXTS))
        assert second.statuses() == {"reused": 39, "failed": 1}
        assert second.tally.failures == {"check": 1}
        assert server.account.total.requests == 40


async def test_twins_whose_rows_differ_are_judged_each_by_its_own_row(tmp_path: Path) -> None:
    async with Simulator(scenario(latency_ms=20)) as server:
        nights = Nights(tmp_path, server.base_url, check=lambda output, row: ["no"] if row["id"] == "r2" else [])
        night = await nights.run(rows(TEXTS[:1] * 4))
        assert server.account.total.requests == 1 + 2  # the leader; two re-asks for the row the reply does not suit
    assert night.statuses() == {"done": 1, "reused": 2, "failed": 1}


async def test_rows_that_cannot_be_rendered_fail_and_bad_rows_are_skipped(tmp_path: Path) -> None:
    over = rows(TEXTS[:3])
    over[1] = Row(1, {"id": "r1"}, "rows.jsonl", 2)
    over[2] = Row(2, {}, "rows.jsonl", 3, problem="not JSON")
    async with Simulator(scenario()) as server:
        night = await Nights(tmp_path, server.base_url).run(over)
    assert night.statuses() == {"done": 1, "failed": 1, "skipped": 1}
    assert night.tally.failures == {"render": 1}
    assert night.answers[2].reason == "not JSON"


@pytest.mark.parametrize("kind", ["bad_key", "insufficient_quota", "unknown_model"])
async def test_a_provider_that_refuses_stops_the_run_at_once(tmp_path: Path, kind: str) -> None:
    async with Simulator(scenario(Fault(kind=kind), latency_ms=10)) as server:
        night = await Nights(tmp_path, server.base_url, limits={"concurrency": 4}).run(rows(TEXTS))
        assert server.account.total.requests <= 4
    assert isinstance(night.halt.reason, ProviderDown)
    assert night.statuses() == {}


async def test_the_budget_ends_the_run_and_more_of_it_goes_on(tmp_path: Path) -> None:
    prices = {"m-1": {"input": 1000, "output": 1000}}
    async with Simulator(scenario()) as server:
        nights = Nights(tmp_path, server.base_url, prices=prices, params={"max_completion_tokens": 20})
        nights.limits = {"budget_usd": "1.2"}
        first = await nights.run(rows(TEXTS))
        assert isinstance(first.halt.reason, BudgetReached)
        assert 0 < first.tally.rows["done"] < 40  # type: ignore[index]
        assert first.tally.cost_usd <= Decimal("1.2")
        paid = server.account.total.dollars(Decimal(1000), Decimal(1000))
        assert paid == first.tally.cost_usd
        nights.limits = {"budget_usd": "80"}
        second = await nights.run(rows(TEXTS))
        assert second.halt.reason is None
        assert second.statuses() == {"reused": first.tally.settled, "done": 40 - first.tally.settled}
        assert server.account.total.requests == 40


async def test_told_to_stop_it_drains_and_loses_nothing(tmp_path: Path) -> None:
    def soon(halt: Halt, timed: Cutter) -> None:
        asyncio.get_running_loop().call_later(0.3, halt.stop, Interrupted(Exit.SIGTERM))

    async with Simulator(scenario(latency_ms=200)) as server:
        nights = Nights(tmp_path, server.base_url, limits={"concurrency": 4})
        first = await nights.run(rows(TEXTS), meanwhile=soon)
        assert 0 < first.tally.settled < 40
        assert server.account.total.requests == first.tally.settled
        second = await nights.run(rows(TEXTS))
        assert second.statuses() == {"reused": first.tally.settled, "done": 40 - first.tally.settled}
        assert server.account.total.requests == 40


async def test_a_ledger_that_cannot_be_read_ends_the_run_also_when_rows_wait_for_room(tmp_path: Path) -> None:
    async with Simulator(scenario()) as server:
        nights = Nights(tmp_path, server.base_url, open_rows=10)
        await nights.run(rows(TEXTS))
        with duckdb.connect(tmp_path / "l.duckdb") as con:
            con.execute("alter table attempts rename http_status to elsewhere")
        async with asyncio.timeout(30):
            night = await nights.run(rows(TEXTS))
        assert isinstance(night.halt.reason, StorageError)
        assert server.account.total.requests == len(TEXTS)


async def test_cut_short_it_ends_at_once_and_says_what_may_be_billed(tmp_path: Path) -> None:
    def soon(halt: Halt, timed: Cutter) -> None:
        loop = asyncio.get_running_loop()
        loop.call_later(0.3, halt.stop, Interrupted(Exit.SIGINT))
        loop.call_later(0.4, timed.cut)

    async with Simulator(scenario(Fault(kind="hang"))) as server:
        began = time.monotonic()
        nights = Nights(tmp_path, server.base_url, limits={"concurrency": 4, "timeout_s": 60})
        night = await nights.run(rows(TEXTS), meanwhile=soon)
        assert time.monotonic() - began < 3
    assert night.statuses() == {}
    assert night.tally.possibly_paid == 4


async def test_a_rehearsal_never_serves_a_real_night(tmp_path: Path) -> None:
    """What the simulator replied is asked again when the address is not this machine's."""
    async with Simulator(scenario()) as server:
        nights = Nights(tmp_path, server.base_url)
        await nights.run(rows(TEXTS))
        nights.rehearsal = False
        assert (await nights.run(rows(TEXTS))).statuses() == {"done": 40}
        assert server.account.total.requests == 80
