"""The body of a chat completion, right or spoilt as a fault wants it, and what it bills."""

from __future__ import annotations

import time
from typing import Any

import orjson

from llmbatch.simulator.asked import Asked
from llmbatch.simulator.brain import Brain
from llmbatch.simulator.scenario import Fault
from llmbatch.simulator.spoil import BODIES, RAWS, TEXTS
from llmbatch.types import Usage

_TOKENS_A_MESSAGE = 4


def input_tokens(asked: Asked, brain: Brain) -> int:
    """Tokens of the request's messages."""
    return sum(brain.tokens(m["content"]) + _TOKENS_A_MESSAGE for m in asked.messages)


def written(asked: Asked, fault: Fault | None, brain: Brain) -> tuple[str, int, str]:
    """What the model writes: its text, the text's tokens, and the finish reason (length when max_tokens cut it)."""
    answer = brain.answer(asked)
    spoil = TEXTS.get(fault.kind) if fault else None
    text = spoil(answer, asked, fault) if spoil and fault else orjson.dumps(answer).decode()
    tokens = brain.tokens(text)
    if asked.max_tokens is not None and tokens > asked.max_tokens:
        return text[: len(text) * asked.max_tokens // tokens], asked.max_tokens, "length"
    return text, tokens, "stop"


def served_tier(asked: Asked) -> str:
    """The service tier that answers."""
    return "default" if asked.tier in (None, "auto") else str(asked.tier)


def body(asked: Asked, fault: Fault | None, text: str, finish_reason: str, *, usage: Usage, number: int) -> bytes:
    """The ``chat.completion`` as JSON bytes."""
    whole: dict[str, Any] = {
        "id": f"chatcmpl-{number}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": asked.model,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": text, "refusal": None},
                "logprobs": None,
                "finish_reason": finish_reason,
            }
        ],
        "usage": {
            "prompt_tokens": usage.input,
            "completion_tokens": usage.output,
            "total_tokens": usage.input + usage.output,
            "prompt_tokens_details": {"cached_tokens": usage.cached},
            "completion_tokens_details": {"reasoning_tokens": 0},
        },
        "service_tier": served_tier(asked),
        "system_fingerprint": "fp_simulator",
    }
    if fault and fault.kind in BODIES:
        BODIES[fault.kind](whole, fault)
    raw = orjson.dumps(whole)
    return RAWS[fault.kind](raw) if fault and fault.kind in RAWS else raw
