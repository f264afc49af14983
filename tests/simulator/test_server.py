"""The server without faults: shapes, limits, slots, latency, the account."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from decimal import Decimal
from typing import Any

import orjson
import pytest

from llmbatch.reply import parse_reply
from llmbatch.simulator import Fault, Latency, Limits, Scenario, Server, Sums
from tests.simulator.client import SCHEMA, STRICT, body, serving
from tests.simulator.test_faults import on_schema


async def test_an_answer_is_on_schema_and_reads_as_a_reply() -> None:
    async with serving() as client:
        got = await client.ask(service_tier="flex")
        reply = parse_reply(got.raw.decode())
        assert on_schema(reply.text or "")
        assert (reply.model, reply.tier, reply.finish_reason) == ("simulated-1", "flex", "stop")
        assert reply.usage is not None
        total = client.server.account.total
        assert (reply.usage.input, reply.usage.output) == (total.input, total.output)


@pytest.mark.parametrize("response_format", [None, {"type": "json_object"}])
async def test_the_schema_in_the_instructions_is_obeyed(response_format: Any) -> None:
    system = f"Answer in JSON by this schema:\n```json\n{json.dumps(SCHEMA, indent=1)}\n```"
    messages = [{"role": "system", "content": system}, {"role": "user", "content": "The invoice is wrong."}]
    async with serving() as client:
        assert on_schema((await client.ask(messages=messages, response_format=response_format)).text)


async def test_without_a_schema_there_is_an_answer() -> None:
    async with serving() as client:
        assert set(json.loads((await client.ask(response_format=None)).text)) == {"answer"}


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
async def test_max_tokens_cuts(name: str) -> None:
    async with serving() as client:
        got = await client.post({**body(), name: 5})
        assert got.choice["finish_reason"] == "length"
        assert got.body["usage"]["completion_tokens"] == client.server.account.total.output == 5


async def test_a_json_block_that_is_no_schema_is_not_taken_for_one() -> None:
    block = '```json\n{"type": "nonsense", "properties": {}}\n```'
    async with serving() as client:
        assert set(json.loads((await client.ask(block, response_format=None)).text)) == {"answer"}


LOOSE = {**STRICT, "json_schema": {"name": "o", "strict": True, "schema": {"type": "object", "properties": {}}}}
OPTIONAL = {**SCHEMA, "required": ["summary"]}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"{", "could not parse"),
        (b"[]", "no object"),
        (body(model=None), "model"),
        (body(messages=None), "messages"),
        (body(messages=[]), "empty array"),
        (body(messages=[{"role": "boss", "content": "x"}]), "messages[0].role"),
        (body(messages=[{"role": "user", "content": 1}]), "messages[0].content"),
        (body(max_tokens=0), "max_tokens"),
        (body(max_tokens="5"), "max_tokens"),
        (body(stream=True), "stream"),
        (body(response_format={"type": "yaml"}), "response_format"),
        (body(response_format={"type": "json_object"}), "word 'json'"),
        (body(response_format={"type": "json_schema", "json_schema": {"schema": SCHEMA}}), "name"),
        (body(response_format={"type": "json_schema", "json_schema": {"name": "o"}}), "schema"),
        (body(response_format=LOOSE), "additionalProperties"),
        (body(response_format={**STRICT, "json_schema": {"name": "o", "schema": {"type": "none"}}}), "'o': \"none\""),
        (body(response_format={**STRICT, "json_schema": {"name": "o", "strict": True, "schema": {}}}), '"object"'),
        (
            body(
                response_format={
                    "type": "json_schema",
                    "json_schema": {"name": "o", "strict": True, "schema": OPTIONAL},
                }
            ),
            "Missing 'tags'",
        ),
    ],
)
async def test_a_malformed_request_is_refused_as_the_real_api_refuses_it(content: Any, words: str) -> None:
    async with serving() as client:
        got = await client.post(content)
        assert got.status == 400
        assert words in got.body["error"]["message"]
        assert client.server.account.by_fault["own_invalid"].paid == 0


async def test_the_key_and_the_models_are_checked() -> None:
    async with serving(Scenario(server=Server(api_key="sk-right", models=("a", "b")))) as client:
        assert (await client.post(body(model="a"), key="sk-wrong")).status == 401
        assert (await client.post(body(model="c"), key="sk-right")).status == 404
        assert (await client.post(body(model="a"), key="sk-right")).status == 200
        assert set(client.server.account.by_fault) == {"own_key", "own_model", ""}
        assert "error" in await client.get("/v1/models")
    async with serving(Scenario(server=Server(models=("a", "b")))) as client:
        assert [m["id"] for m in (await client.get("/v1/models"))["data"]] == ["a", "b"]


async def test_requests_a_minute_are_limited_and_told() -> None:
    now = 50.0
    limits = Limits(requests_per_minute=60, tokens_per_minute=100_000, burst_s=3)
    async with serving(Scenario(limits=limits), clock=lambda: now) as client:
        answers = [await client.ask(f"row {n}") for n in range(5)]
        assert [a.status for a in answers] == [200, 200, 200, 429, 429]
        headers = answers[0].headers
        assert headers["x-ratelimit-limit-requests"] == "60"
        assert headers["x-ratelimit-remaining-requests"] == "2"
        assert headers["x-ratelimit-reset-requests"] == "1s"
        assert headers["x-ratelimit-limit-tokens"] == "100000"
        used = client.server.account.requests[0].usage
        assert used is not None
        assert int(headers["x-ratelimit-remaining-tokens"]) == 5000 - used.input - used.output
        assert answers[3].headers["retry-after"] == "1"
        assert answers[3].headers["x-ratelimit-remaining-requests"] == "0"
        assert client.server.account.by_fault["own_limit"].requests == 2
        now += 1.0
        assert [(await client.ask()).status for _ in range(2)] == [200, 429]


async def test_tokens_a_minute_are_limited_and_settled_on_what_was_used() -> None:
    now = 0.0
    async with serving(Scenario(limits=Limits(tokens_per_minute=600)), clock=lambda: now) as client:
        statuses = [(await client.ask(f"row {n} " + "word " * 100)).status for n in range(6)]
        assert statuses[0] == 200
        assert statuses[-1] == 429
        spent = client.server.account.total.input + client.server.account.total.output
        assert 400 < spent < 800
        now = 60.0
        assert (await client.ask("row " + "word " * 100)).status == 200
        too_large = await client.ask("word " * 5000)
        assert too_large.status == 429
        assert "too large" in too_large.body["error"]["message"]
        assert "retry-after" not in too_large.headers


async def test_limits_can_be_hidden() -> None:
    limits = Limits(requests_per_minute=1, headers=False, retry_after_form="none")
    async with serving(Scenario(limits=limits)) as client:
        answers = [await client.ask(), await client.ask()]
        assert [a.status for a in answers] == [200, 429]
        assert not [n for a in answers for n in a.headers if "ratelimit" in n or "retry" in n]


async def test_requests_beyond_the_slots_queue_and_beyond_the_queue_are_refused() -> None:
    slow = Latency(median_ms=100)
    async with serving(Scenario(latency=slow, server=Server(slots=2))) as client:
        start = time.monotonic()
        answers = await client.ask_all([f"row {n}" for n in range(6)])
        assert {a.status for a in answers} == {200}
        assert 0.29 < time.monotonic() - start < 1.5
        assert client.server.account.peak_in_flight == 6
        assert client.server.account.in_flight == 0
    async with serving(Scenario(latency=slow, server=Server(slots=2, queue=1))) as client:
        answers = await client.ask_all([f"row {n}" for n in range(6)])
        assert sorted(a.status or 0 for a in answers) == [200, 200, 200, 503, 503, 503]
        assert client.server.account.by_fault["own_queue"].requests == 3


async def test_latency_is_spread_and_grows_with_the_answer() -> None:
    async with serving(Scenario(latency=Latency(median_ms=40, sigma=0.7))) as client:

        async def timed(n: int) -> float:
            start = time.monotonic()
            await client.ask(f"row {n}")
            return time.monotonic() - start

        times = sorted(await asyncio.gather(*(timed(n) for n in range(60))))
        assert times[-1] > 2 * times[6]
    async with serving(Scenario(latency=Latency(per_output_token_ms=10))) as client:
        start = time.monotonic()
        await client.ask()
        assert time.monotonic() - start > client.server.account.total.output * 0.01 - 0.002


async def test_embeddings_take_the_latency_too() -> None:
    async with serving(Scenario(latency=Latency(median_ms=50))) as client:
        start = time.monotonic()
        got = await client.post({"model": "e", "input": "a lost parcel"}, to="embeddings")
        assert got.status == 200
        assert time.monotonic() - start > 0.048


async def test_the_account_tells_what_was_really_paid() -> None:
    faults = (
        Fault(kind="reset_after_execution", match="late"),
        Fault(kind="reset_before", match="early"),
        Fault(kind="missing_usage", match="untold"),
    )
    async with serving(Scenario(fault=faults, server=Server(cached_share=0.5))) as client:
        for user in ("late", "early", "untold", "plain"):
            await client.ask(user)
        account = client.server.account
        assert (account.total.requests, account.total.paid, account.total.paid_undelivered) == (4, 3, 1)
        assert account.by_fault["reset_after_execution"].output > 0
        assert account.by_fault["reset_before"].input == 0
        assert account.by_fault["missing_usage"].input > 0
        assert account.total.input == sum(s.usage.input for s in account.requests if s.usage)
        assert account.total.cached == sum(s.usage.input // 2 for s in account.requests if s.usage)
        assert account.by_model["simulated-1"] == account.total
        assert [s.user_hash for s in account.requests] == [
            hashlib.sha256(user.encode()).hexdigest() for user in ("late", "early", "untold", "plain")
        ]
        assert (
            account.requests[3].key
            == hashlib.sha256(orjson.dumps(body("plain"), option=orjson.OPT_SORT_KEYS)).hexdigest()
        )
        assert account.by_status == {"none": 2, "200": 2}
        assert sum(account.per_second.values()) == 4
        assert sum(account.paid_per_second.values()) == 3
        shown = await client.get("/account")
        assert shown == orjson.loads(orjson.dumps(account.as_json()))
        assert shown["requests"][0]["fault"] == "reset_after_execution"


async def test_an_answer_nobody_waited_for_is_paid_and_undelivered() -> None:
    async with serving(Scenario(latency=Latency(median_ms=300))) as client:
        assert (await client.ask(timeout_s=0.1)).error == "TimeoutError"
        while not client.server.account.total.requests:
            await asyncio.sleep(0.02)
        assert (client.server.account.total.paid, client.server.account.total.paid_undelivered) == (1, 1)


async def test_sums_only_keeps_no_requests() -> None:
    async with serving(detail=False) as client:
        await client.ask_all(["a", "b"])
        assert client.server.account.requests == []
        assert client.server.account.total.paid == 2


def test_dollars() -> None:
    sums = Sums(input=1_000_000, cached=400_000, output=500_000)
    assert sums.dollars(Decimal(1), Decimal(2)) == Decimal(2)
    assert sums.dollars(Decimal(1), Decimal(2), Decimal("0.5")) == Decimal("1.8")
