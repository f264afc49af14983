"""Nights by provider batches: every row once, at half the price, whatever becomes of the batches."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from llmbatch.errors import BudgetReached, Exit, Interrupted, ProviderDown
from llmbatch.ledger import Ledger, batch_times
from llmbatch.simulator import BATCH_KINDS, BatchFault, Clock, Fault, Simulator
from llmbatch.tally import BatchState
from tests.engines.batches.nights import TEXTS, BatchNights, numbered, scenario, states


async def test_rows_are_answered_once_at_half_the_price(tmp_path: Path) -> None:
    async with Simulator(scenario()) as server:
        nights = BatchNights(tmp_path, server)
        night = await nights.run(numbered(TEXTS))
        assert night.statuses() == {"done": len(TEXTS)}
        assert night.tally.by_tier.keys() == {"batch"}
        assert night.tally.cost_usd == await nights.billed() == await nights.spent() > 0
        assert (night.tally.valid, night.tally.sent) == (len(TEXTS), len(TEXTS))
        assert night.answers[3].cost_usd is not None
        assert [file.name for file in server.batches.store.files.values() if "llmbatch-" in file.name] == []
        again = await nights.run(numbered(TEXTS))
        assert again.statuses() == {"reused": len(TEXTS)}
        assert nights.sizes() == [len(TEXTS)]
    assert [*tmp_path.glob("*.jsonl")] == []


@pytest.mark.slow
async def test_live_and_batch_replies_serve_each_other(tmp_path: Path) -> None:
    from tests.engines.conftest import Nights

    async with Simulator(scenario()) as server:
        await BatchNights(tmp_path, server).run(numbered(TEXTS))
        live = Nights(tmp_path, server.base_url, params={"max_completion_tokens": 200})
        assert (await live.run(numbered(TEXTS))).statuses() == {"reused": len(TEXTS)}


async def test_identical_rows_are_in_one_batch_once(tmp_path: Path) -> None:
    async with Simulator(scenario()) as server:
        nights = BatchNights(tmp_path, server, batch={"requests": 4})
        night = await nights.run(numbered([*TEXTS[:10], *TEXTS[:10]]))
        assert night.statuses() == {"done": 10, "reused": 10}
        assert sum(nights.sizes()) == 10
        assert server.account.in_two_live_batches == 0


@pytest.mark.slow
@pytest.mark.parametrize("kind", sorted(BATCH_KINDS))
async def test_whatever_is_wrong_with_a_batch_every_row_is_answered_and_the_bill_is_right(
    kind: str, tmp_path: Path
) -> None:
    parameters: dict[str, Any] = {"share": 0.3} if "share" in BATCH_KINDS[kind] else {}
    async with Simulator(scenario(BatchFault(kind=kind, nth=1, **parameters), window_s=600)) as server:
        nights = BatchNights(tmp_path, server, batch={"requests": 20})
        night = await nights.run(numbered(TEXTS))
        assert night.statuses() == {"done": len(TEXTS)}, night.halt.reason
        lost = server.account.total.paid_undelivered + (20 if kind == "no_output_file" else kind == "cut_line")
        assert night.tally.possibly_paid == lost
        assert server.account.total.paid == len(TEXTS) + lost
        billed, spent = await nights.billed(), await nights.spent()
        assert spent == night.tally.cost_usd
        assert spent == billed if not lost else spent < billed <= spent + night.tally.possibly_paid_usd
        assert server.account.in_two_live_batches == 0
        assert nights.flight.open == {}


async def test_a_night_in_which_every_batch_is_wrong_in_its_own_way(tmp_path: Path) -> None:
    faults = [
        BatchFault.model_validate({"kind": kind, "nth": nth, **({"share": 0.5} if "share" in takes else {})})
        for nth, (kind, takes) in enumerate(sorted(BATCH_KINDS.items()), 1)
    ]
    async with Simulator(scenario(*faults, window_s=600)) as server:
        nights = BatchNights(tmp_path, server, batch={"requests": 4}, limits={"max_attempts": 6})
        night = await nights.run(numbered([f"Ticket {n} is open." for n in range(60)]))
        assert night.statuses() == {"done": 60}, night.halt.reason
        assert len(nights.sizes()) > len(BATCH_KINDS)
        billed, spent = await nights.billed(), await nights.spent()
        assert spent == night.tally.cost_usd < billed <= spent + night.tally.possibly_paid_usd
        assert night.tally.possibly_paid == server.account.total.paid - 60
        assert (server.account.in_two_live_batches, nights.flight.open) == (0, {})


async def test_an_invalid_answer_is_asked_again_in_the_next_smaller_batch(tmp_path: Path) -> None:
    faults = (Fault(kind="wrong_shape", times=1, match="month 1"), Fault(kind="wrong_shape", match="month 2 "))
    async with Simulator(scenario(live=faults)) as server:
        nights = BatchNights(tmp_path, server)
        night = await nights.run(numbered(TEXTS))
        spoilt = sum("month 1" in text for text in TEXTS)
        assert night.statuses() == {"done": len(TEXTS) - 1, "failed": 1}
        assert nights.sizes() == [len(TEXTS), spoilt + 1, 1]
        assert night.tally.failures == {"schema": 1}
        assert (night.tally.valid, night.tally.invalid) == (len(TEXTS) - 1, spoilt + 3)
        assert night.tally.sent == len(TEXTS) + spoilt + 2
        assert await nights.billed() == await nights.spent()


@pytest.mark.slow
async def test_a_row_that_is_rejected_fails_and_one_that_never_comes_is_given_up(tmp_path: Path) -> None:
    faults = (Fault(kind="context_length", match="month 3 "), Fault(kind="server_error", match="month 4 "))
    async with Simulator(scenario(live=faults)) as server:
        nights = BatchNights(tmp_path, server)
        night = await nights.run(numbered(TEXTS))
        assert night.tally.failures == {"context_length": 1, "transient": 1}
        assert nights.sizes() == [len(TEXTS), 1, 1]
        again = await nights.run(numbered(TEXTS))  # the server's fault is asked again, the row's is not
        assert nights.sizes() == [len(TEXTS), 1, 1, 1, 1, 1]
        assert again.tally.failures == night.tally.failures


@pytest.mark.slow
async def test_batches_that_never_end_give_their_rows_up(tmp_path: Path) -> None:
    async with Simulator(scenario(BatchFault(kind="never"), window_s=100)) as server:
        nights = BatchNights(tmp_path, server, limits={"max_attempts": 2})
        night = await nights.run(numbered(TEXTS[:5]))
        assert night.tally.failures == {"timeout": 5}
        assert (nights.sizes(), night.tally.sent, server.account.total.paid) == ([5, 5], 0, 0)


async def test_led_by_a_schedule_a_row_is_not_given_up_for_batches_that_never_came_to_it(tmp_path: Path) -> None:
    """A schedule cancels batches, perhaps often; live calls are still to come."""
    handed_in = 0

    def another(left: int) -> None:
        nonlocal handed_in
        handed_in += 1
        if handed_in == 3:
            nights.halt.stop(Interrupted(Exit.SIGINT))

    async with Simulator(scenario(BatchFault(kind="never"), window_s=100)) as server:
        nights = BatchNights(tmp_path, server, limits={"max_attempts": 1})
        night = await nights.run(numbered(TEXTS[:5]), another=another)
        assert (night.tally.failures, nights.sizes()) == ({}, [5, 5, 5])


@pytest.mark.slow
async def test_files_are_no_larger_than_allowed_and_no_more_in_flight(tmp_path: Path) -> None:
    async with Simulator(scenario(requests=7, bytes=4_000)) as server:
        nights = BatchNights(tmp_path, server, batch={"requests": 7, "bytes": 4_000, "in_flight": 2})
        night = await nights.run(numbered(TEXTS))
        assert night.statuses() == {"done": len(TEXTS)}
        assert max(nights.sizes()) <= 7
        assert max(len(watched) for watched in nights.seen) == 2
        assert all(batch.input.bytes <= 4_000 for batch in server.batches.batches.values())


async def test_the_queue_of_tokens_is_kept_to(tmp_path: Path) -> None:
    async with Simulator(scenario(enqueued_tokens=4_000)) as server:
        nights = BatchNights(tmp_path, server, batch={"enqueued_tokens": 4_000})
        night = await nights.run(numbered(TEXTS))
        assert night.statuses() == {"done": len(TEXTS)}
        assert [b.timeline.failure for b in server.batches.batches.values() if b.timeline.failure] == []
        assert max(len(watched) for watched in nights.seen) >= 2


@pytest.mark.slow
async def test_a_queue_that_nobody_knew_of_makes_batches_smaller(tmp_path: Path) -> None:
    async with Simulator(scenario(enqueued_tokens=1_500)) as server:
        nights = BatchNights(tmp_path, server)
        night = await nights.run(numbered(TEXTS))
        assert night.statuses() == {"done": len(TEXTS)}, night.halt.reason
        assert "queue of tokens is full" in " ".join(night.tally.notes)
        assert await nights.billed() == await nights.spent()


@pytest.mark.slow
async def test_batches_that_all_fail_end_the_run(tmp_path: Path) -> None:
    async with Simulator(scenario(BatchFault(kind="fail"))) as server:
        nights = BatchNights(tmp_path, server)
        night = await nights.run(numbered(TEXTS))
        assert isinstance(night.halt.reason, ProviderDown)
        assert "invalid_json_line" in night.halt.reason.message
        assert (len(nights.sizes()), nights.flight.open) == (3, {})


@pytest.mark.slow
async def test_a_refusal_of_every_row_ends_the_run_and_the_next_one_goes_on(tmp_path: Path) -> None:
    refused = Fault(kind="unknown_model", times=1)
    async with Simulator(scenario(live=(refused,))) as server:
        nights = BatchNights(tmp_path, server)
        night = await nights.run(numbered(TEXTS))
        assert isinstance(night.halt.reason, ProviderDown)
        assert "does not exist" in night.halt.reason.message
        again = await nights.run(numbered(TEXTS))
        assert again.statuses() == {"done": len(TEXTS)}


async def test_the_budget_holds_for_what_is_in_flight(tmp_path: Path) -> None:
    async with Simulator(scenario()) as server:
        nights = BatchNights(tmp_path, server, limits={"budget_usd": 0.002}, batch={"requests": 4})
        night = await nights.run(numbered(TEXTS))
        assert isinstance(night.halt.reason, BudgetReached)
        assert 0 < night.statuses()["done"] < len(TEXTS)
        assert await nights.billed() == await nights.spent() <= Decimal("0.002")
        assert max(sum(s.worst_usd or 0 for s in watched) for watched in nights.seen) <= Decimal("0.002")
        nights.limits = {"budget_usd": 5}
        again = await nights.run(numbered(TEXTS))
        assert sum(again.statuses().values()) == len(TEXTS)
        assert server.account.total.paid == len(TEXTS)


async def test_handing_in_and_fetching_later(tmp_path: Path) -> None:
    slow = scenario().model_copy(update={"clock": Clock(speed=1)})
    hands = [0.0]
    async with Simulator(slow, clock=lambda: hands[0]) as server:
        nights = BatchNights(tmp_path, server, batch={"requests": 20})
        night = await nights.run(numbered(TEXTS), detach=True)
        assert (night.statuses(), len(nights.flight)) == ({}, 2)
        night = await nights.run(numbered(TEXTS), detach=True)  # nothing is ready, and nothing is handed in again
        assert (night.statuses(), nights.sizes()) == ({}, [20, 10])
        hands[0] = 100.0
        night = await nights.run(numbered(TEXTS), detach=True)
        assert night.statuses() == {"done": len(TEXTS)}
        assert (nights.flight.open, server.account.total.paid) == ({}, len(TEXTS))


@pytest.mark.slow
async def test_a_few_rows_that_are_left_are_not_worth_a_batch(tmp_path: Path) -> None:
    async with Simulator(scenario(live=(Fault(kind="wrong_shape", times=1, match="month 5 "),))) as server:
        nights = BatchNights(tmp_path, server, batch={"live_below": 3})
        night = await nights.run(numbered(TEXTS))
        assert [row.row_no for row in nights.rest] == [5]
        assert night.statuses() == {"done": len(TEXTS) - 1}
        assert nights.sizes() == [len(TEXTS)]


async def test_a_form_that_the_server_does_not_know_is_learned_from_a_batch(tmp_path: Path) -> None:
    fault = Fault(kind="structured_output_unsupported")
    async with Simulator(scenario(live=(fault,))) as server:
        nights = BatchNights(tmp_path, server, limits={"max_attempts": 1})
        night = await nights.run(numbered(TEXTS))
        assert "json_schema" in " ".join(night.tally.notes)
        assert nights.sizes() == [len(TEXTS), len(TEXTS)]
        assert night.tally.sent == len(TEXTS)
        assert night.statuses()["done"] > 0


async def test_a_stop_leaves_batches_and_the_next_run_takes_them(tmp_path: Path) -> None:
    slow, hands = BatchFault(kind="slow", nth=1, factor=50), [0.0]
    by_hand = scenario(slow).model_copy(update={"clock": Clock(speed=1)})
    async with Simulator(by_hand, clock=lambda: hands[0]) as server:
        nights = BatchNights(tmp_path, server, batch={"requests": 20})
        nights.seen = seen = _Stopping(nights, server)
        hands[0] = 0.0
        seen.when_both_are_out = lambda: hands.__setitem__(0, 100.0)  # the second one has ended, the first has not
        night = await nights.run(numbered(TEXTS))
        assert isinstance(night.halt.reason, Interrupted)
        assert night.statuses() == {"done": 10}
        assert len(nights.flight) == 1
        nights.seen, hands[0] = [], 10_000.0
        again = await nights.run(numbered(TEXTS))
        assert again.statuses() == {"done": 20, "reused": 10}
        assert (nights.sizes(), server.account.total.paid) == ([20, 10], len(TEXTS))


class _Stopping(list[tuple[BatchState, ...]]):
    """Told how the batches stand, it stops the run when one of two has been fetched."""

    def __init__(self, nights: BatchNights, server: Simulator) -> None:
        super().__init__()
        self.when_both_are_out: Callable[[], None] = lambda: None
        self._nights, self._server = nights, server

    def append(self, watched: tuple[BatchState, ...]) -> None:
        super().append(watched)
        if len(watched) == 2:
            self.when_both_are_out()
        elif self._server.account.total.paid:
            self._nights.halt.stop(Interrupted(Exit.SIGINT))


@pytest.mark.slow
async def test_what_is_watched_says_how_far_batches_are(tmp_path: Path) -> None:
    async with Simulator(scenario()) as server:
        nights = BatchNights(tmp_path, server)
        await nights.run(numbered(TEXTS))
    seen = [state.status for state in states(nights)]
    assert seen[0] in ("validating", "in_progress", "finalizing")
    assert nights.seen[-1] == ()


async def test_how_long_rehearsed_batches_took_steers_no_real_night(tmp_path: Path) -> None:
    async def times(*, simulated: bool) -> int:
        ledger = await Ledger.open(tmp_path / "l.duckdb")
        try:
            return len(await ledger.ask(lambda con: batch_times(con, simulated=simulated)))
        finally:
            await ledger.close()

    async with Simulator(scenario(BatchFault(kind="expire", nth=2, done=0.0), window_s=600)) as server:
        nights = BatchNights(tmp_path, server)
        await nights.run(numbered(TEXTS[:4]))
        await nights.run(numbered(TEXTS[4:8]))  # the second batch brought no answer that could be known by its sender
        assert [await times(simulated=True), await times(simulated=False)] == [3, 0]
        await nights.run(numbered(TEXTS[8:12]), rehearsal=False)  # asks thrice: what the simulator says does not serve
        assert [await times(simulated=True), await times(simulated=False)] == [6, 3]
