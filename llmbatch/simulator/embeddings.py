"""``POST /v1/embeddings``: texts as counts of their words, hashed; texts with the same words are near each other."""

from __future__ import annotations

import base64
import hashlib
import math
import re
import struct
from hashlib import blake2b
from typing import Any

import orjson

from llmbatch.simulator.asked import Asked
from llmbatch.simulator.form import BadRequest
from llmbatch.types import Json

FORMAT = "embedding"  #: in place of a response format
_DIMENSIONS = 64
_WORD = re.compile(r"\w+")


def read(raw: bytes) -> Asked:
    """The request as one of a chat with a message for each text. Raises BadRequest where the real API answers 400."""
    try:
        body: Any = orjson.loads(raw)
    except orjson.JSONDecodeError:
        raise BadRequest("We could not parse the JSON body of your request.") from None
    if not isinstance(body, dict) or not isinstance(body.get("model"), str) or not body["model"]:
        raise BadRequest("you must provide a model parameter", "model")
    given = body.get("input")
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) and text for text in texts):
        raise BadRequest("'$.input' is invalid.", "input")
    return Asked(
        body=body,
        model=body["model"],
        messages=tuple({"role": "user", "content": text} for text in texts),
        user_text=texts[0],
        user_hash=hashlib.sha256(texts[0].encode()).hexdigest(),
        response_format=FORMAT,
        schema={},
        max_tokens=None,
        tier=None,
    )


def body(asked: Asked, tokens: int) -> bytes:
    """The list of embeddings as JSON bytes."""
    as_base64 = asked.body.get("encoding_format") == "base64"
    written = (_written(vector(message["content"]), as_base64=as_base64) for message in asked.messages)
    return orjson.dumps(
        {
            "object": "list",
            "data": [{"object": "embedding", "index": n, "embedding": text} for n, text in enumerate(written)],
            "model": asked.model,
            "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
            "system_fingerprint": "fp_simulator",
        }
    )


def vector(text: str) -> list[float]:
    """A unit vector of the text's words, the same each time."""
    counts = [0.0] * _DIMENSIONS
    for word in _WORD.findall(text.lower()) or [text]:
        digest = blake2b(word.encode(), digest_size=2).digest()
        counts[digest[0] % _DIMENSIONS] += 1 if digest[1] % 2 else -1
    length = math.hypot(*counts)
    return [count / length for count in counts] if length else [1.0, *counts[1:]]


def _written(numbers: list[float], *, as_base64: bool) -> Json:
    return base64.b64encode(struct.pack(f"<{len(numbers)}f", *numbers)).decode() if as_base64 else numbers
