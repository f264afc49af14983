from collections.abc import Callable
from decimal import Decimal

import pytest

from llmbatch.ledger import RunStart
from llmbatch.reply import parse_reply
from llmbatch.types import Attempt, Request

MakeAttempt = Callable[..., Attempt]


def body(text: str = '{"a": 1}') -> str:
    quoted = text.replace("\\", "\\\\").replace('"', '\\"')
    return (
        '{"model":"m-1","choices":[{"index":0,"finish_reason":"stop","message":{"role":"assistant","content":"'
        + quoted
        + '"}}],"usage":{"prompt_tokens":10,"completion_tokens":5}}'
    )


def key(n: int) -> str:
    return f"{n:064x}"


def attempt(
    n: int, *, row_no: int | None = None, number: int = 1, raw: str | None = None, **changes: object
) -> Attempt:
    reply = parse_reply(raw or body())
    fields: dict[str, object] = {
        "key": key(n),
        "row_no": n if row_no is None else row_no,
        "number": number,
        "asked_at": 1_700_000_000.0,
        "latency_s": 0.25,
        "outcome": "answered",
        "http_status": 200,
        "reason": None,
        "failure": None,
        "reply": reply,
        "cost_usd": Decimal("0.000012"),
    }
    return Attempt(**{**fields, **changes})  # type: ignore[arg-type]


def request(n: int) -> Request:
    return Request(key(n), n, "m-1", ({"role": "user", "content": f"row {n}"},), {}, {})


def start(**changes: object) -> RunStart:
    fields: dict[str, object] = {
        "pipeline": "tag",
        "version": "v1",
        "label": None,
        "model": "m-1",
        "system": None,
        "params": "{}",
        "schema": "{}",
        "prompt": "p",
        "hooks": None,
        "input": "rows.jsonl",
        "fingerprint": "f1",
        "total": 3,
        "settings": "{}",
    }
    return RunStart(**{**fields, **changes})  # type: ignore[arg-type]


@pytest.fixture(params=[1, 40])
def crowd(request: pytest.FixtureRequest) -> int:
    return int(request.param)
