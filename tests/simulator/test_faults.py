"""Each kind of fault, as a plain client meets it."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from typing import Any

import jsonschema_rs
import pytest

from llmbatch.simulator import KINDS, Fault, Scenario
from tests.simulator.client import SCHEMA, Got, serving


def on_schema(text: str) -> bool:
    try:
        return bool(jsonschema_rs.is_valid(SCHEMA, json.loads(text)))
    except ValueError:
        return False


def code(got: Got) -> Any:
    return got.body["error"]["code"]


def usage(got: Got) -> Any:
    return got.body["usage"]["prompt_tokens"]


# kind, parameters, what the client sees
UNPAID: list[tuple[str, dict[str, Any], Callable[[Got], bool]]] = [
    ("rate_limited", {}, lambda g: g.status == 429 and code(g) == "rate_limit_exceeded"),
    ("insufficient_quota", {}, lambda g: g.status == 429 and code(g) == "insufficient_quota"),
    ("bad_key", {}, lambda g: g.status == 401 and code(g) == "invalid_api_key"),
    ("forbidden", {}, lambda g: g.status == 403),
    ("unknown_model", {}, lambda g: g.status == 404 and code(g) == "model_not_found"),
    ("context_length", {}, lambda g: g.status == 400 and code(g) == "context_length_exceeded"),
    ("bad_request", {}, lambda g: g.status == 400),
    ("server_error", {}, lambda g: g.status == 500 and g.body["error"]["type"] == "server_error"),
    ("server_error", {"status": 529}, lambda g: g.status == 529 and g.body["error"]["type"] == "overloaded_error"),
    (
        "server_error",
        {"status": 502, "html": True},
        lambda g: g.status == 502 and b"<h1>502 Bad Gateway" in g.raw and "text/html" in g.headers["content-type"],
    ),
    (
        "server_error",
        {"status": 503, "retry_after_form": "ms", "retry_after_s": 0.25},
        lambda g: g.headers["retry-after-ms"] == "250",
    ),
    ("structured_output_unsupported", {}, lambda g: g.status == 400 and "json_schema" in g.body["error"]["message"]),
    (
        "redirect",
        {"location": "http://127.0.0.1:1/x"},
        lambda g: g.status == 307 and g.headers["location"] == "http://127.0.0.1:1/x",
    ),
    ("echo_key", {}, lambda g: g.status == 401 and b"sk-test" in g.raw),
    ("html_200", {}, lambda g: g.status == 200 and g.raw.startswith(b"<!doctype html>")),
    ("error_200", {}, lambda g: g.status == 200 and "error" in g.body),
    ("null_200", {}, lambda g: g.status == 200 and g.body is None),
    ("empty_200", {}, lambda g: g.status == 200 and g.raw == b""),
    ("reset_before", {}, lambda g: g.error in ("ClientOSError", "ServerDisconnectedError")),
    ("hang", {}, lambda g: g.error in ("TimeoutError", "ConnectionTimeoutError")),
]

PAID: list[tuple[str, dict[str, Any], Callable[[Got], bool]]] = [
    ("hang", {"seconds": 0.05}, lambda g: on_schema(g.text)),
    ("reset_mid", {}, lambda g: g.error in ("ClientPayloadError", "ClientOSError")),
    ("reset_after_execution", {}, lambda g: g.error in ("ClientOSError", "ServerDisconnectedError")),
    ("slow_body", {"bytes_per_s": 5000}, lambda g: on_schema(g.text)),
    ("wrong_length", {}, lambda g: g.error == "ClientPayloadError"),
    ("truncated", {}, lambda g: g.choice["finish_reason"] == "length" and not on_schema(g.text)),
    ("content_filter", {}, lambda g: g.choice["finish_reason"] == "content_filter"),
    ("refusal", {}, lambda g: g.text is None and g.choice["message"]["refusal"].startswith("I'm sorry")),
    ("refusal_text", {}, lambda g: g.text.startswith("I'm sorry") and g.choice["message"]["refusal"] is None),
    ("empty", {}, lambda g: g.text == ""),
    ("null_content", {}, lambda g: g.text is None and g.choice["finish_reason"] == "stop"),
    ("wrong_shape", {}, lambda g: set(json.loads(g.text)) == {"result"}),
    ("wrong_enum", {}, lambda g: json.loads(g.text)["tags"][0] not in ("billing", "outage") and not on_schema(g.text)),
    ("extra_key", {}, lambda g: json.loads(g.text)["unexpected"] is True),
    ("fenced", {}, lambda g: g.text.startswith("```json\n") and on_schema(g.text[7:-3])),
    ("prose", {}, lambda g: "{" in g.text and not on_schema(g.text)),
    ("nan", {}, lambda g: "NaN" in g.text),
    ("duplicate_key", {}, lambda g: g.text.count('"summary":') == 2 and on_schema(g.text)),
    ("not_json", {}, lambda g: "summary" in g.text and not on_schema(g.text)),
    ("ignore_schema", {}, lambda g: g.text.startswith("summary: ")),
    ("lone_surrogate", {}, lambda g: r"\ud83d" in g.text and json.loads(g.text)["summary"].startswith("\ud83d")),
    ("nul", {}, lambda g: json.loads(g.text)["summary"].startswith("\0")),
    ("big_answer", {"size": 300_000}, lambda g: len(json.loads(g.text)["summary"]) == 300_000),
    ("missing_usage", {}, lambda g: "usage" not in g.body and on_schema(g.text)),
    ("negative_usage", {}, lambda g: usage(g) < 0),
    ("huge_usage", {}, lambda g: usage(g) > 10**12),
    ("other_tier", {"tier": "priority"}, lambda g: g.body["service_tier"] == "priority"),
    ("other_model", {"model": "cheap-1"}, lambda g: g.body["model"] == "cheap-1"),
    ("no_choices", {}, lambda g: g.body["choices"] == []),
    ("content_parts", {}, lambda g: g.text[0]["type"] == "text" and on_schema(g.text[0]["text"])),
    ("tool_calls_only", {}, lambda g: g.text is None and len(g.choice["message"]["tool_calls"]) == 1),
    ("cut_json_body", {}, lambda g: g.status == 200 and g.raw.endswith(b"}") is False),
    ("invalid_utf8", {}, lambda g: b"\xff\xfe" in g.raw),
]


@pytest.mark.parametrize(("kind", "parameters", "seen"), UNPAID + PAID, ids=lambda v: v if isinstance(v, str) else "")
async def test_a_fault_looks_as_it_should_and_the_next_request_is_answered(
    kind: str, parameters: dict[str, Any], seen: Callable[[Got], bool]
) -> None:
    async with serving(None, Fault(kind=kind, match="bad row", **parameters)) as client:
        got = await client.ask("a bad row", timeout_s=0.3 if parameters == {} and kind == "hang" else 5)
        assert seen(got), got
        good = await client.ask("a good row")
        assert on_schema(good.text)
        bad = client.server.account.by_fault[kind] if kind != "hang" or parameters else None
        if bad is not None:
            assert (bad.requests, bad.paid) == (1, int((kind, parameters) in [(k, p) for k, p, _ in PAID]))


async def test_flex_without_capacity_is_refused_and_the_standard_tier_is_not() -> None:
    async with serving(None, Fault(kind="flex_unavailable", retry_after_form="ms", retry_after_s=0.5)) as client:
        refused = await client.ask(service_tier="flex")
        assert (refused.status, code(refused), refused.headers["retry-after-ms"]) == (
            429,
            "resource_unavailable",
            "500",
        )
        assert on_schema((await client.ask()).text)
        assert client.server.account.by_fault["flex_unavailable"].paid == 0
        assert client.server.account.by_tier["default"].paid == 1


def test_every_kind_is_tested() -> None:
    assert {kind for kind, _, _ in UNPAID + PAID} | {"flex_unavailable"} == set(KINDS)


@pytest.mark.parametrize(
    ("form", "header", "value"),
    [
        ("seconds", "retry-after", "3"),
        ("ms", "retry-after-ms", "2500"),
        ("junk", "retry-after", "soon"),
        ("none", None, None),
    ],
)
async def test_retry_after_in_every_form(form: Any, header: str | None, value: str | None) -> None:
    async with serving(None, Fault(kind="rate_limited", retry_after_s=2.5, retry_after_form=form)) as client:
        got = await client.ask()
        assert {n: v for n, v in got.headers.items() if n.startswith("retry-after")} == (
            {header: value} if header else {}
        )


async def test_retry_after_as_a_date() -> None:
    async with serving(None, Fault(kind="rate_limited", retry_after_s=100, retry_after_form="date")) as client:
        ahead = parsedate_to_datetime((await client.ask()).headers["retry-after"]).timestamp() - time.time()
        assert 98 < ahead <= 101


async def test_structured_output_can_be_refused_by_mode() -> None:
    fault = Fault(kind="structured_output_unsupported", modes=("json_schema", "json_object"))
    as_object = {"type": "json_object"}
    async with serving(None, fault) as client:
        assert (await client.ask()).status == 400
        assert (await client.ask("json, please", response_format=as_object)).status == 400
        assert (await client.ask(response_format=None)).status == 200
    async with serving(None, Fault(kind="structured_output_unsupported")) as client:
        assert (await client.ask("json, please", response_format=as_object)).status == 200


async def test_a_slow_body_takes_its_time() -> None:
    async with serving(None, Fault(kind="slow_body", bytes_per_s=1500)) as client:
        start = time.monotonic()
        got = await client.ask()
        assert time.monotonic() - start > len(got.raw) / 1500 * 0.8
        assert (await client.ask(timeout_s=0.1)).error == "TimeoutError"


async def test_hangs_end_with_the_server() -> None:
    async with serving(None, Fault(kind="hang")) as client:
        hanging = asyncio.create_task(client.ask(timeout_s=30))
        while client.server.account.in_flight == 0:
            await asyncio.sleep(0.01)
        start = time.monotonic()
        await client.server.stop()
        assert (await hanging).error is not None
        assert time.monotonic() - start < 2
        assert client.server.account.by_fault["hang"].paid == 0


async def test_a_window_opens_and_closes_and_is_counted_from_the_first_request() -> None:
    now = 1000.0
    fault = Fault(kind="server_error", from_s=10, to_s=20)
    async with serving(None, fault, clock=lambda: now) as client:
        seen = []
        for at in (1000.0, 1009.0, 1010.0, 1019.0, 1020.0):
            now = at
            seen.append((await client.ask()).status)
        assert seen == [200, 200, 500, 500, 200]


async def test_times_spares_later_asks_even_when_the_conversation_has_grown() -> None:
    async with serving(None, Fault(kind="not_json", times=2)) as client:
        ask = {"model": "m", "messages": [{"role": "user", "content": "row"}]}
        turns = [{"role": "assistant", "content": "?"}, {"role": "user", "content": "Not JSON."}]
        texts = [(await client.post({**ask, "messages": ask["messages"] + turns * n})).text for n in range(3)]  # type: ignore[operator]
        assert [text.startswith("{") and '"' in text for text in texts] == [False, False, True]


async def faults_met(users: list[str], *, seed: int, asks: int, windowed: bool = False) -> dict[str, list[str | None]]:
    faults = [
        Fault(kind="rate_limited", share=0.3),
        Fault(kind="wrong_shape", share=0.3),
        Fault(kind="server_error", share=0.2),
    ]
    if windowed:
        faults.append(Fault(kind="bad_request", share=0.5, from_s=0, to_s=1000))
    met: dict[str, list[str | None]] = {}
    async with serving(Scenario(seed=seed, fault=tuple(faults))) as client:
        for _ in range(asks):
            await client.ask_all(users)
        for served in client.server.account.requests:
            if served.fault != "bad_request":
                met.setdefault(served.user_hash or "", []).append(served.fault)
    return met


async def test_the_same_seed_brings_the_same_faults_in_any_order() -> None:
    users = [f"row {n}" for n in range(40)]
    first = await faults_met(users, seed=1, asks=3)
    assert await faults_met(users[::-1], seed=1, asks=3) == first
    assert await faults_met(users, seed=2, asks=3) != first
    assert {fault for asks in first.values() for fault in asks} == {None, "rate_limited", "wrong_shape", "server_error"}
    assert any(len(set(asks)) > 1 for asks in first.values()), "each ask draws anew"


async def test_an_outage_does_not_change_what_else_a_request_meets() -> None:
    users = [f"row {n}" for n in range(40)]
    calm, rough = await faults_met(users, seed=1, asks=2), await faults_met(users, seed=1, asks=2, windowed=True)
    assert sum(map(len, rough.values())) < sum(map(len, calm.values()))
    for user, met in rough.items():
        assert met == calm[user][: len(met)]
