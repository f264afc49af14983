"""The provider that needs no key and no network: extractive answers in the very shape of OpenAI's API."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import orjson

from llmbatch.extract import answer, count_tokens, cut_to_tokens
from llmbatch.reply import parse_reply
from llmbatch.settings import OFFLINE_MODEL
from llmbatch.types import Reply, Request

_INLINE_CHARS = 4_000  #: of all messages; about 4 ms, as long as the event loop may be held up
_MESSAGE_TOKENS = 4  #: a message's frame, by OpenAI's count


class Offline:
    """Answers by extraction (see :mod:`llmbatch.extract`). The same request always gets the same bytes.

    Obeys ``max_completion_tokens`` and ``max_tokens``; other parameters change nothing. Costs nothing.
    """

    async def call(self, request: Request) -> Reply:
        """Answer a request. Raises nothing."""
        started = time.perf_counter()
        chars = sum(len(message["content"] or "") for message in (*request.messages, *request.turns))
        body = await asyncio.to_thread(_completion, request) if chars > _INLINE_CHARS else _completion(request)
        return parse_reply(body, latency_s=time.perf_counter() - started)

    async def close(self) -> None:
        """Nothing is held."""


def _completion(request: Request) -> str:
    """The body of a ``chat.completion``; ``created`` is 0, so that equal requests get equal bodies."""
    messages = (*request.messages, *request.turns)
    text = orjson.dumps(answer(messages, request.schema)).decode()
    limit = request.params.get("max_completion_tokens", request.params.get("max_tokens"))
    content = text if limit is None else cut_to_tokens(text, int(limit))
    prompt_tokens = sum(count_tokens(message["content"] or "") + _MESSAGE_TOKENS for message in messages)
    completion_tokens = count_tokens(content)
    body: dict[str, Any] = {
        "id": f"chatcmpl-{request.key[:24]}-{len(request.turns)}",
        "object": "chat.completion",
        "created": 0,
        "model": OFFLINE_MODEL,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": content, "refusal": None},
                "logprobs": None,
                "finish_reason": "stop" if content == text else "length",
            }
        ],
        "usage": {
            "prompt_tokens": prompt_tokens,
            "completion_tokens": completion_tokens,
            "total_tokens": prompt_tokens + completion_tokens,
        },
        "service_tier": "default",
    }
    return orjson.dumps(body).decode()
