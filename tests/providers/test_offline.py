"""The offline provider: OpenAI's shape, the same bytes each time, token limits obeyed, a loop that stays free."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace

import orjson
import pytest

from llmbatch.providers.offline import Offline
from llmbatch.types import Request

SCHEMA = {
    "type": "object",
    "properties": {"summary": {"type": "string", "maxLength": 300}},
    "required": ["summary"],
    "additionalProperties": False,
}
TEXT = "The harbour wall of Corran Bay broke on Monday. Repairs will take three weeks. The ferry lands at Port Allard."
LONG = (
    TEXT
    + " The mayor of Port Allard promised a second ferry. Fishers of Corran Bay will use the harbour of Port Allard."
)


def request(text: str = TEXT, params: Mapping[str, int] | None = None) -> Request:
    return Request("ab" * 32, 0, "gpt-5-mini", ({"role": "user", "content": text},), params or {}, SCHEMA)


async def test_the_reply_is_a_whole_completion() -> None:
    reply = await Offline().call(request())
    body = orjson.loads(reply.raw)
    assert body["object"] == "chat.completion"
    assert body["choices"][0]["message"]["role"] == "assistant"
    assert (reply.model, reply.finish_reason, reply.refusal) == ("offline/extractive-1", "stop", None)
    assert orjson.loads(reply.text or "")["summary"] in TEXT
    assert reply.usage is not None
    assert reply.usage.input > 20
    assert body["usage"]["total_tokens"] == reply.usage.input + reply.usage.output


async def test_the_same_request_gets_the_same_bytes() -> None:
    assert (await Offline().call(request())).raw == (await Offline().call(request())).raw


async def test_a_reask_is_another_completion() -> None:
    first = await Offline().call(request(LONG))
    turns = ({"role": "assistant", "content": first.text or ""}, {"role": "user", "content": "Too long."})
    again = await Offline().call(request(LONG).reask(turns, 1))
    assert orjson.loads(again.raw)["id"] != orjson.loads(first.raw)["id"]
    assert len(again.text or "") < len(first.text or "")


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
async def test_an_answer_beyond_the_limit_is_cut(name: str) -> None:
    whole = await Offline().call(request())
    cut = await Offline().call(request(params={name: 5}))
    assert cut.finish_reason == "length"
    assert cut.text
    assert (whole.text or "").startswith(cut.text)
    assert cut.usage is not None
    assert cut.usage.output <= 5
    assert (await Offline().call(request(params={name: 500}))).finish_reason == "stop"


async def test_a_long_text_does_not_hold_up_the_loop() -> None:
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0)
            ticks += 1

    ticker = asyncio.create_task(tick())
    await Offline().call(request(TEXT * 500))
    ticker.cancel()
    assert ticks > 10


async def test_no_text_and_no_properties_are_answered_too() -> None:
    assert orjson.loads((await Offline().call(request(""))).text or "") == {"summary": "(no text)"}
    assert (await Offline().call(replace(request(), schema={"type": "object"}))).text == "{}"
