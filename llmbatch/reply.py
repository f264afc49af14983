"""Read the body of a chat completion into a Reply. Nothing is judged here.

The stored body is read again on every later run, so this is the only place that knows its shape.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from types import MappingProxyType
from typing import Any

import orjson

from llmbatch.types import Json, Reply, Usage

_MOST_TOKENS = 10**9  #: a larger count is a fault of the server
_WORD = re.compile(r"[\w.\-]{1,60}", re.ASCII)  #: an error's code or type, as opposed to its prose
_LONE = re.compile("[\ud800-\udfff]")
_ESCAPE = re.compile(r"\\(?:(u[dD][89aAbB][\da-fA-F]{2}\\u[dD][c-fC-F][\da-fA-F]{2})|(u[dD][89a-fA-F][\da-fA-F]{2})|.)")


class BrokenReply(ValueError):
    """The body is no chat completion. The message is short and holds none of the body's prose."""


def parse_reply(
    raw: str,
    *,
    http_status: int = 200,
    latency_s: float = 0.0,
    headers: Mapping[str, str] = MappingProxyType({}),
    number: int = 0,
    seq: int = -1,
    cost_usd: Decimal | None = None,
) -> Reply:
    """Read an OpenAI ``chat.completion`` body, or an ``embedding`` in a list; the rest says how it came.

    A body whose only fault is half a surrogate pair is read with U+FFFD in its place. Token counts that no
    server can mean (negative, above 10^9, zero for a prompt, zero for an answer with text) leave ``usage`` None.

    Raises:
        BrokenReply: not JSON, null, no object, an error in place of an answer, no choices, no message.
    """
    if not raw.isascii():
        raw = _encodable(raw)
    body = _object(raw)
    embedding = body.get("object") == "list"
    choice = _embedding(body) if embedding else _first_choice(body)
    message = choice.get("message")
    if not isinstance(message, dict):
        raise BrokenReply("no message in the answer")
    text, refusal = _content(message)
    return Reply(  # by place, as elsewhere where a row makes one: keywords take twice the time
        raw,
        text,
        _text(choice.get("finish_reason")),
        refusal,
        _usage(body.get("usage"), answered=bool(text), writes=not embedding),
        _text(body.get("model")),
        _text(body.get("service_tier")),
        _text(body.get("system_fingerprint")),
        bool(message.get("tool_calls") or message.get("function_call")),
        http_status,
        latency_s,
        headers,
        number,
        seq,
        cost_usd,
    )


def text_of(raw: str) -> str | None:
    """The assistant's text in a body that :func:`parse_reply` reads, without the rest. Raises BrokenReply."""
    body = _object(raw)
    choice = _embedding(body) if body.get("object") == "list" else _first_choice(body)
    message = choice.get("message")
    return _content(message)[0] if isinstance(message, dict) else None


def loads(text: str) -> Json:
    """``orjson.loads``, but an escaped half of a surrogate pair (``\\ud83d`` alone) is read as U+FFFD.

    Raises:
        ValueError: not JSON. NaN, Infinity, numbers beyond a double and more than 1,024 levels are not;
            integers of more than 64 bits are read as doubles.
    """
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        mended = _ESCAPE.sub(lambda m: r"\ufffd" if m[2] else m[0], text)
        if mended == text:
            raise
        return orjson.loads(mended)


def _encodable(text: str) -> str:
    """Text that can be stored as UTF-8; a client may have decoded half a surrogate pair into it."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return _LONE.sub("\ufffd", text)
    return text


def _object(raw: str) -> dict[str, Any]:
    try:
        body = loads(raw)
    except ValueError:
        raise BrokenReply("the answer is not JSON" if raw.strip() else "the answer is empty") from None
    if not isinstance(body, dict):
        raise BrokenReply(f"the answer is {'null' if body is None else 'no JSON object'}")
    if error := body.get("error"):
        raise BrokenReply(f"the answer carries an error{_error_words(error)}")
    return body


def _error_words(error: Json) -> str:
    """`` (server_error, 500)``: the error's type and code where they are words, never its prose."""
    if not isinstance(error, dict):
        return ""
    fields = (str(error.get(name, "")) for name in ("type", "code"))
    words = [field for field in fields if _WORD.fullmatch(field) and field != "None"]
    return f" ({', '.join(dict.fromkeys(words))})" if words else ""


def _first_choice(body: dict[str, Any]) -> dict[str, Any]:
    choices = body.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        raise BrokenReply("no choices in the answer")
    return choices[0]


def _embedding(body: dict[str, Any]) -> dict[str, Any]:
    """The one embedding of a list, as if a model had written it: {"embedding": numbers, or base64 of floats}."""
    data = body.get("data")
    if not isinstance(data, list) or not data or not isinstance(data[0], dict) or not data[0].get("embedding"):
        raise BrokenReply("no embedding in the answer")
    text = orjson.dumps({"embedding": data[0]["embedding"]}).decode()
    return {"finish_reason": "stop", "message": {"content": text}}


def _content(message: dict[str, Any]) -> tuple[str | None, str | None]:
    """The message's text and refusal; both may also come as parts of the content."""
    content, refusal = message.get("content"), _text(message.get("refusal")) or None
    if not isinstance(content, list):
        return _text(content), refusal
    parts = [part for part in content if isinstance(part, dict)]
    texts = [part["text"] for part in parts if isinstance(part.get("text"), str) and part.get("type") == "text"]
    refusals = [part["refusal"] for part in parts if isinstance(part.get("refusal"), str)]
    return "".join(texts) if texts else None, refusal or "".join(refusals) or None


def _text(value: Json) -> str | None:
    return value if isinstance(value, str) else None


def _usage(usage: Json, *, answered: bool, writes: bool) -> Usage | None:
    if not isinstance(usage, dict):
        return None
    prompt, completion = _count(usage.get("prompt_tokens")), _count(usage.get("completion_tokens") if writes else 0)
    if not prompt or completion is None or (answered and writes and not completion):
        return None
    of_prompt, of_completion = usage.get("prompt_tokens_details"), usage.get("completion_tokens_details")
    cached = _part(of_prompt, "cached_tokens", prompt) if of_prompt else 0
    written = _part(of_prompt, "cache_write_tokens", prompt - cached) if of_prompt else 0
    reasoning = _part(of_completion, "reasoning_tokens", completion) if of_completion else 0
    return Usage(prompt, completion, cached, written, reasoning)


def _count(value: Json) -> int | None:
    return value if type(value) is int and 0 <= value <= _MOST_TOKENS else None


def _part(table: Json, name: str, whole: int) -> int:
    """One of the counts inside a whole; 0 when missing or absurd, never more than the whole."""
    return min(_count(table.get(name)) or 0, whole) if isinstance(table, dict) else 0
