"""OpenAI's gate: what the wire's faults become, what is sent, and what never is."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from llmbatch.errors import (
    Decision,
    Overloaded,
    RateLimited,
    Refused,
    Rejected,
    TimedOut,
    Transient,
    UsageError,
)
from llmbatch.providers.openai import OpenAI, decide
from llmbatch.providers.wrap import Timed
from llmbatch.settings import ProviderSettings
from llmbatch.simulator import Fault, Scenario, Simulator
from tests.providers.test_contract import ask

SECRET = "sk-live-0123456789abcdefghijklmnop"


@asynccontextmanager
async def provider(
    *faults: Fault, timeout_s: float = 5, through_sdk: bool = False
) -> AsyncIterator[tuple[OpenAI, Simulator, list[str]]]:
    notes: list[str] = []
    async with Simulator(Scenario(fault=faults)) as server:
        openai = OpenAI(
            ProviderSettings(base_url=server.base_url), timeout_s=timeout_s, note=notes.append, through_sdk=through_sdk
        )
        try:
            yield openai, server, notes
        finally:
            await openai.close()


@pytest.mark.parametrize("through_sdk", [False, True], ids=["direct", "sdk"])
@pytest.mark.parametrize(
    ("fault", "kind", "failure", "paid"),
    [
        ({"kind": "rate_limited"}, RateLimited, "rate_limited", False),
        ({"kind": "insufficient_quota"}, Refused, "refused", False),
        ({"kind": "bad_key"}, Refused, "refused", False),
        ({"kind": "forbidden"}, Refused, "refused", False),
        ({"kind": "unknown_model"}, Refused, "refused", False),
        ({"kind": "redirect"}, Refused, "refused", False),
        ({"kind": "context_length"}, Rejected, "context_length", False),
        ({"kind": "bad_request"}, Rejected, "rejected", False),
        ({"kind": "server_error", "status": 500}, Transient, "transient", False),
        ({"kind": "server_error", "status": 502, "html": True}, Transient, "transient", False),
        ({"kind": "server_error", "status": 503}, Overloaded, "overloaded", False),
        ({"kind": "server_error", "status": 529}, Overloaded, "overloaded", False),
        ({"kind": "reset_before"}, Transient, "connection", True),
        ({"kind": "reset_mid"}, Transient, "connection", True),
        ({"kind": "reset_after_execution"}, Transient, "connection", True),
        ({"kind": "wrong_length"}, Transient, "connection", True),
        ({"kind": "hang"}, TimedOut, "timeout", True),
        ({"kind": "slow_body", "bytes_per_s": 20}, TimedOut, "timeout", True),
        ({"kind": "html_200"}, Transient, "broken_reply", True),
        ({"kind": "error_200"}, Transient, "broken_reply", True),
        ({"kind": "null_200"}, Transient, "broken_reply", True),
        ({"kind": "empty_200"}, Transient, "broken_reply", True),
        ({"kind": "no_choices"}, Transient, "broken_reply", True),
        ({"kind": "cut_json_body"}, Transient, "broken_reply", True),
        ({"kind": "invalid_utf8"}, Transient, "broken_reply", True),
    ],
)
async def test_every_fault_of_the_wire_is_a_decision(
    fault: dict[str, Any], kind: type[Decision], failure: str, paid: bool, through_sdk: bool
) -> None:
    async with provider(Fault(**fault), timeout_s=1, through_sdk=through_sdk) as (openai, _, _):
        with pytest.raises(Decision) as caught:
            await Timed(openai, timeout_s=1).call(ask())
    decision = caught.value
    assert type(decision) is kind
    assert decision.failure == failure
    assert decision.possibly_paid is paid


@pytest.mark.parametrize("form", ["seconds", "ms", "date"])
async def test_retry_after_is_read_in_every_form(form: str) -> None:
    fault = Fault(kind="rate_limited", retry_after_s=7, retry_after_form=form)  # type: ignore[arg-type]
    async with provider(fault) as (openai, _, _):
        with pytest.raises(RateLimited) as caught:
            await openai.call(ask())
    assert caught.value.retry_after == pytest.approx(7, abs=1.1)


@pytest.mark.parametrize("form", ["none", "junk"])
async def test_no_or_junk_retry_after_is_none(form: str) -> None:
    fault = Fault(kind="rate_limited", retry_after_form=form)  # type: ignore[arg-type]
    async with provider(fault) as (openai, _, _):
        with pytest.raises(RateLimited) as caught:
            await openai.call(ask())
    assert caught.value.retry_after is None


async def test_nothing_but_our_own_loop_retries() -> None:
    async with provider(Fault(kind="server_error", status=500)) as (openai, server, _):
        with pytest.raises(Transient):
            await openai.call(ask())
        assert server.account.total.requests == 1


async def test_structured_output_falls_back_to_what_the_server_can_do() -> None:
    for refused, mode in (
        (("json_schema",), "json_object"),
        (("json_schema", "json_object"), "instructions"),
    ):
        fault = Fault(kind="structured_output_unsupported", modes=refused)  # type: ignore[arg-type]
        async with provider(fault) as (openai, server, notes):
            reply = await openai.call(ask())
            await openai.call(ask())
            assert reply.text is not None
            assert openai.structured_output == mode
            assert len(notes) == len(refused)
            assert server.account.total.requests == len(refused) + 2  # what was learned is remembered


async def test_a_server_that_is_not_there() -> None:
    openai = OpenAI(ProviderSettings(base_url="http://127.0.0.1:9/v1"), timeout_s=2, note=pytest.fail)
    with pytest.raises(Transient) as caught:
        await openai.call(ask())
    await openai.close()
    assert caught.value.failure == "connection"
    assert not caught.value.possibly_paid


async def test_the_key_is_in_no_error_and_no_log(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    caplog.set_level(logging.DEBUG)
    for status in (401, 400, 500):
        async with provider(Fault(kind="echo_key", status=status)) as (openai, _, _):
            with pytest.raises(Decision) as caught:
                await openai.call(ask())
        assert SECRET not in caught.value.message
        assert "[key]" in caught.value.message
        assert caught.value.__context__ is None
    assert SECRET not in caplog.text


def test_a_missing_key_is_said_before_anything_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    with pytest.raises(UsageError, match="OPENAI_API_KEY is not set"):
        OpenAI(ProviderSettings(), timeout_s=1, note=pytest.fail)


@pytest.mark.parametrize("url", ["ftp://host/v1", "host/v1", "http://user:word@127.0.0.1/v1"])
def test_addresses_that_are_refused(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    with pytest.raises(UsageError) as caught:
        OpenAI(ProviderSettings(base_url=url), timeout_s=1, note=pytest.fail)
    assert "word" not in caught.value.message.replace("password", "")


@pytest.mark.parametrize(
    ("status", "body", "kind", "failure"),
    [
        (400, {"error": {"code": "context_length_exceeded", "message": "x"}}, Rejected, "context_length"),
        (400, {"error": {"code": "content_filter", "message": "x"}}, Rejected, "content_filter"),
        (400, {"error": {"code": "unsupported_value", "param": "temperature", "message": "x"}}, Refused, None),
        (400, {"error": {"code": None, "param": "messages[0].content", "message": "x"}}, Rejected, None),
        (400, {"error": {"message": "API key not valid. Please pass a valid API key."}}, Refused, None),
        (402, {"error": "payment required"}, Refused, None),
        (404, {"detail": "Not Found"}, Refused, None),
        (408, None, Transient, None),
        (409, None, Transient, None),
        (413, "too large", Rejected, None),
        (422, {"detail": [{"loc": ["body"]}]}, Rejected, None),
        (429, {"error": {"type": "insufficient_quota", "message": "x"}}, Refused, None),
        (429, {"error": {"message": "You exceeded your current quota, please check your plan"}}, Refused, None),
        (429, {"error": {"code": 429, "message": "slow down"}}, RateLimited, None),
        (429, "<html>", RateLimited, None),
        (429, {"error": {"message": "Request too large for m on tokens per min"}}, Rejected, "too_many_tokens"),
        (413, {"error": {"message": "Request too large for model `m`"}}, Rejected, "too_many_tokens"),
        (500, "<html>", Transient, None),
        (503, None, Overloaded, None),
        (529, None, Overloaded, None),
        (307, None, Refused, None),
    ],
)
def test_what_a_status_means(status: int, body: object, kind: type[Decision], failure: str | None) -> None:
    assert decide(status, {}, body) == (kind, failure)


def test_x_should_retry_false_is_obeyed() -> None:
    kind, _ = decide(500, {"x-should-retry": "false"}, None)
    assert kind is Rejected
