"""Lines of a batch's files, whatever a provider writes into them."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import orjson
import pytest

from llmbatch.engines.batch_api.answers import Times, attempt_of, read
from llmbatch.ledger import BatchRequest
from llmbatch.types import Attempt

KEY = "ab" * 32
TEXT = "Customer 4711 of Elm Street owes 300 dollars"
BODY = orjson.dumps({"custom_id": KEY, "body": {"messages": [{"role": "user", "content": TEXT}]}}).decode()
ASKED = BatchRequest(KEY, 7, 1, Decimal("0.01"), BODY)
TIMES = Times(1_000.0, 3_600.0)
USAGE = {"prompt_tokens": 10, "completion_tokens": 5}


def completion(**changes: Any) -> dict[str, Any]:
    message = {"role": "assistant", "content": "{}"}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return {"choices": [choice], "usage": USAGE, "model": "m-1", **changes}


def line(response: Any = None, error: Any = None, custom_id: Any = KEY) -> bytes:
    return orjson.dumps({"id": "r", "custom_id": custom_id, "response": response, "error": error})


def attempt(raw: bytes) -> Attempt:
    found = read(raw)
    assert found is not None
    return attempt_of(ASKED, found, TIMES, lambda text: text)


@pytest.mark.parametrize(
    "raw",
    [b"", b"{", b"[]", b"7", b"null", b'{"response": {}}', line(custom_id=7), line(custom_id="row-1"), line()[:40],
     b"\xff\xfe", line(custom_id=KEY.upper())],
)  # fmt: skip
def test_what_is_no_line_of_ours_is_passed_over(raw: bytes) -> None:
    assert read(raw) is None


@pytest.mark.parametrize(
    ("said", "tier"),
    [(None, "batch"), ("default", "batch"), ("auto", "batch"), ("batch", "batch"), ("priority", "priority")],
)
def test_an_answer_costs_the_batch_price_unless_it_names_another_tier(said: str | None, tier: str) -> None:
    made = attempt(line({"status_code": 200, "body": completion(service_tier=said)}))
    assert made.reply is not None
    assert (made.outcome, made.reply.tier, made.number, made.row_no) == ("answered", tier, 1, 7)


def test_a_body_may_be_text() -> None:
    made = attempt(line({"status_code": 200, "body": orjson.dumps(completion()).decode()}))
    assert made.reply is not None
    assert made.reply.text == "{}"


@pytest.mark.parametrize("body", [None, "", "not JSON", [], {}, {"choices": []}, {"error": {"code": "x"}}])
def test_an_answer_that_is_none_may_have_been_billed(body: Any) -> None:
    made = attempt(line({"status_code": 200, "body": body}))
    assert (made.outcome, made.failure, made.possibly_paid) == ("transient", "broken_reply", True)
    assert made.worst_usd == Decimal("0.01")


@pytest.mark.parametrize(
    ("status", "error", "outcome", "failure"),
    [
        (400, {"code": "context_length_exceeded", "message": "too long"}, "rejected", "context_length"),
        (400, {"code": "x", "message": "content_filter"}, "rejected", "rejected"),
        (500, {"message": "fault"}, "transient", "transient"),
        (503, {"message": "busy"}, "transient", "overloaded"),
        (429, {"code": "rate_limit_exceeded", "message": "slow"}, "rate_limited", "rate_limited"),
        (401, {"code": "invalid_api_key", "message": "key"}, "refused", "refused"),
    ],
)
def test_a_refused_row_is_what_it_is_live(status: int, error: Any, outcome: str, failure: str) -> None:
    made = attempt(line({"status_code": status, "body": {"error": error}}))
    assert (made.outcome, made.failure, made.possibly_paid) == (outcome, failure, False)


def test_a_row_that_was_never_tried_is_no_attempt() -> None:
    for code in ("batch_expired", "batch_cancelled"):
        found = read(line(error={"code": code, "message": "x"}))
        assert found is not None
        assert found.never_tried


def test_the_rows_text_does_not_get_into_the_reason() -> None:
    made = attempt(line({"status_code": 400, "body": {"error": {"message": f"cannot take: {TEXT}"}}}))
    assert made.reason == "status 400, in a batch: cannot take: [row text]"
