"""Files and batches of the simulator, asked by the SDK itself, under a clock that the test moves."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import openai
import orjson
import pytest

from llmbatch.errors import UsageError
from llmbatch.simulator import BATCH_KINDS, Batches, BatchFault, Clock, Fault, Scenario, Simulator, load_scenario
from tests.simulator.client import body

ROWS = 20


@dataclass
class Hands:
    """A clock with hands."""

    at: float = 0.0
    step: float = 0.0  #: that it moves on whenever it is read

    def __call__(self) -> float:
        self.at += self.step
        return self.at


@dataclass
class Desk:
    server: Simulator
    client: openai.AsyncOpenAI
    clock: Hands

    async def create(self, lines: list[dict[str, Any]] | None = None, **options: Any) -> Any:
        raw = b"".join(orjson.dumps(line) + b"\n" for line in lines or requests())
        file = await self.client.files.create(file=("in.jsonl", raw), purpose="batch")
        return await self.client.batches.create(
            input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h", **options
        )

    async def after(self, batch: Any, seconds: float) -> Any:
        self.clock.at += seconds
        return await self.client.batches.retrieve(batch.id)

    async def lines(self, file_id: str | None) -> list[dict[str, Any]]:
        if file_id is None:
            return []
        return [orjson.loads(line) for line in (await self.client.files.content(file_id)).content.splitlines()]


def requests(count: int = ROWS, first: int = 0) -> list[dict[str, Any]]:
    return [
        {"custom_id": f"k{n}", "method": "POST", "url": "/v1/chat/completions", "body": body(f"Invoice {n} is wrong.")}
        for n in range(first, first + count)
    ]


@asynccontextmanager
async def desk(*faults: BatchFault, batches: Batches | None = None, **scenario: Any) -> AsyncIterator[Desk]:
    clock = Hands()
    whole = Scenario(batches=batches or Batches(), batch=faults, **scenario)
    async with Simulator(whole, clock=clock) as server, _client(server) as client:
        yield Desk(server, client, clock)


def _client(server: Simulator) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(api_key="sk-test", base_url=server.base_url, max_retries=0)


async def test_a_batch_goes_through_its_states_and_bills_each_row_once_at_batch_price() -> None:
    async with desk() as at:
        batch = await at.create(metadata={"intent": "i1"})
        assert (batch.status, batch.metadata) == ("validating", {"intent": "i1"})
        seen = [(await at.after(batch, seconds)).status for seconds in (1.5, 30, 30, 1)]
        assert seen == ["in_progress", "in_progress", "finalizing", "completed"]
        ended = await at.after(batch, 0)
        assert (ended.request_counts.total, ended.request_counts.completed) == (ROWS, ROWS)
        assert ended.error_file_id is None
        lines = await at.lines(ended.output_file_id)
        ids = [line["custom_id"] for line in lines]
        assert sorted(ids) == sorted(f"k{n}" for n in range(ROWS))
        assert ids != sorted(ids)  # in no order
        assert lines[0]["response"]["body"]["choices"][0]["finish_reason"] == "stop"
        await at.client.batches.retrieve(batch.id)
        await at.server.batches.settle()
        account = at.server.account
        assert (account.by_tier["batch"].paid, account.total.paid) == (ROWS, ROWS)
        tokens = sum(line["response"]["body"]["usage"]["prompt_tokens"] for line in lines)
        assert account.by_tier["batch"].input == tokens


@pytest.mark.parametrize("step", [3.0, 7.0, 11.0])
async def test_a_batch_that_is_said_to_have_ended_has_its_files(step: float) -> None:
    async with desk() as at:
        at.clock.step = step
        batch = await at.create()
        while batch.status != "completed":
            batch = await at.after(batch, 0)
        assert len(await at.lines(batch.output_file_id)) == ROWS


async def test_an_expired_batch_has_what_was_done_and_bills_that() -> None:
    async with desk(BatchFault(kind="expire", done=0.4)) as at:
        batch = await at.create()
        assert (await at.after(batch, 43_200)).status == "in_progress"
        ended = await at.after(batch, 43_201)
        assert ended.status == "expired"
        assert len(await at.lines(ended.output_file_id)) == 8
        left = await at.lines(ended.error_file_id)
        assert Counter(line["error"]["code"] for line in left) == {"batch_expired": 12}
        assert left[0]["response"] is None
        assert at.server.account.total.paid == 8


async def test_a_cancelled_batch_too() -> None:
    async with desk() as at:
        batch = await at.create()
        await at.after(batch, 31)
        assert (await at.client.batches.cancel(batch.id)).status == "cancelling"
        ended = await at.after(batch, 2)
        assert ended.status == "cancelled"
        assert len(await at.lines(ended.output_file_id)) == 10
        assert {line["error"]["code"] for line in await at.lines(ended.error_file_id)} == {"batch_cancelled"}
        with pytest.raises(openai.ConflictError):
            await at.client.batches.cancel(batch.id)


@pytest.mark.parametrize(("kind", "code"), [("fail", "invalid_json_line"), ("over_quota", "token_limit_exceeded")])
async def test_a_batch_that_fails_after_it_was_created(kind: str, code: str) -> None:
    async with desk(BatchFault(kind=kind, nth=1)) as at:
        ended = await at.after(await at.create(), 2)
        assert (ended.status, ended.errors.data[0].code, ended.output_file_id) == ("failed", code, None)
        assert (await at.after(await at.create(), 100)).status == "completed"  # the second one is well


async def test_the_enqueued_tokens_of_live_batches_are_limited() -> None:
    async with desk(batches=Batches(enqueued_tokens=3_000)) as at:
        first, second = await at.create(), await at.create()
        assert (await at.after(first, 2)).status == "in_progress"
        assert (await at.after(second, 0)).errors.data[0].code == "token_limit_exceeded"
        await at.after(first, 100)
        assert (await at.after(await at.create(), 2)).status == "in_progress"


async def test_what_is_no_request_file() -> None:
    twice = [*requests(2), requests(1)[0]]
    async with desk(batches=Batches(requests=10)) as at:
        for lines in (twice, [{"custom_id": "k"}], requests(11)):
            assert (await at.after(await at.create(lines), 2)).status == "failed"
        with pytest.raises(openai.BadRequestError):
            await at.client.batches.create(
                input_file_id="file-9", endpoint="/v1/chat/completions", completion_window="24h"
            )


@pytest.mark.parametrize("kind", sorted(BATCH_KINDS))
async def test_every_kind_of_fault_happens(kind: str) -> None:
    parameters: dict[str, Any] = {"share": 1.0} if "share" in BATCH_KINDS[kind] else {}
    async with desk(BatchFault(kind=kind, **parameters)) as at:
        batch = await at.create()
        ended = await at.after(batch, 86_401)
        output: Any = "gone"
        if kind != "no_output_file":
            output = await at.lines(ended.output_file_id) if kind != "cut_line" else []
        errors = await at.lines(ended.error_file_id)
        match kind:
            case "fail" | "over_quota":
                assert ended.status == "failed"
            case "never":
                assert (ended.status, len(output), len(errors)) == ("expired", 0, ROWS)
            case "expire":
                assert (ended.status, len(output), len(errors)) == ("expired", ROWS // 2, ROWS // 2)
            case "slow":
                assert ended.status == "completed"
                assert ended.completed_at - ended.created_at >= 600
            case "all_failed" | "row_errors":
                assert (ended.status, len(output), len(errors)) == ("completed", 0, ROWS)
                assert errors[0]["response"]["status_code"] == 500
                assert (ended.request_counts.failed, ended.request_counts.completed) == (ROWS, 0)
            case "no_output_file":
                with pytest.raises(openai.NotFoundError):
                    await at.client.files.content(ended.output_file_id)
            case "duplicate_ids" | "foreign_ids":
                assert len(output) == 2 * ROWS
                assert at.server.account.total.paid == ROWS
            case "missing_ids":
                assert (output, at.server.account.total.paid_undelivered) == ([], ROWS)
            case "body_as_text":
                assert orjson.loads(output[0]["response"]["body"])["object"] == "chat.completion"
            case "cut_line":
                raw = (await at.client.files.content(ended.output_file_id)).content.splitlines()
                assert len(raw) == ROWS
                with pytest.raises(orjson.JSONDecodeError):
                    orjson.loads(raw[-1])


async def test_faults_of_live_answers_happen_inside_a_batch() -> None:
    faults = (Fault(kind="wrong_shape", match="Invoice 3 "), Fault(kind="context_length", match="Invoice 4 "))
    async with desk(fault=faults) as at:
        ended = await at.after(await at.create(), 100)
        output = {line["custom_id"]: line for line in await at.lines(ended.output_file_id)}
        (refused,) = await at.lines(ended.error_file_id)
    assert "result" in orjson.loads(output["k3"]["response"]["body"]["choices"][0]["message"]["content"])
    assert (refused["custom_id"], refused["response"]["status_code"]) == ("k4", 400)


async def test_lists_have_pages_newest_first_and_may_lag() -> None:
    async with desk(batches=Batches(list_lag_s=5)) as at:
        made = []
        for _ in range(7):
            made.append((await at.create(requests(1))).id)
            at.clock.at += 1
        assert [batch.id async for batch in at.client.batches.list(limit=1)] == made[2::-1]
        at.clock.at += 5
        assert [batch.id async for batch in at.client.batches.list(limit=3)] == made[::-1]
        files = [file.id async for file in at.client.files.list(purpose="batch", limit=2)]
        assert len(files) == 7
        await at.client.files.delete(files[0])
        assert [file.id async for file in at.client.files.list(purpose="batch", limit=2)] == files[1:]


async def test_a_row_in_two_live_batches_is_counted() -> None:
    async with desk() as at:
        await at.create(requests(5))
        await at.create(requests(5, first=3))
        assert at.server.account.in_two_live_batches == 2
        at.clock.at += 100
        await at.create(requests(5))
        assert at.server.account.in_two_live_batches == 2


async def test_a_fast_clock_needs_no_hands() -> None:
    scenario = Scenario(clock=Clock(speed=1e6), batch=(BatchFault(kind="never"),))
    async with Simulator(scenario) as server, _client(server) as client:
        batch = await Desk(server, client, Hands()).create()
        while batch.status != "expired":
            batch = await client.batches.retrieve(batch.id)
        assert batch.expired_at - batch.created_at == 86_400


async def test_a_wrong_key_is_refused() -> None:
    async with desk(server={"api_key": "sk-right"}) as at:
        with pytest.raises(openai.AuthenticationError):
            await at.client.files.list()


def test_mistakes_in_the_tables_are_named(tmp_path: Any) -> None:
    path = tmp_path / "s.toml"
    path.write_text('[[batch]]\nkind = "expires"\n[batches]\nmedian = 1\n')
    with pytest.raises(UsageError) as caught:
        load_scenario(str(path))
    words = caught.value.message + str(caught.value.hint)
    assert "batch[1].kind: no such kind of batch; did you mean 'expire'?" in words
    assert "batches.median: unknown key; did you mean 'median_s'?" in words
    path.write_text('[[batch]]\nkind = "fail"\nshare = 0.5\n')
    with pytest.raises(UsageError, match="'share' means nothing for kind 'fail'"):
        load_scenario(str(path))
