"""Ways in which an answer that was paid for is wrong: in the model's text, in the body around it, or in its bytes."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from llmbatch.simulator.asked import Asked
from llmbatch.simulator.scenario import Fault
from llmbatch.types import Json

_SORRY = "I'm sorry, but I can't help with that."
_NO_SUCH_VALUE = "no-such-value"

Output = dict[str, Json]  #: the right one
Spoil = Callable[[Output, Asked, Fault], str]


def _first_key(output: Output) -> str:
    return next(iter(output), "answer")


def _in_first_string(value: Json, change: Callable[[str], str]) -> Json:
    """A copy with the first string in it changed; the same value when it holds none."""
    if isinstance(value, str):
        return change(value)
    pairs = list(value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ())
    for key, part in pairs:
        if (changed := _in_first_string(part, change)) != part:
            return {**value, key: changed} if isinstance(value, dict) else [*value[:key], changed, *value[key + 1 :]]
    return value


def _off_enum(value: Json, schema: Json) -> Json | None:
    """A copy whose first enumerated value is none of the enumeration; None when nothing is enumerated."""
    if not isinstance(schema, dict):
        return None
    if "enum" in schema:
        return _NO_SUCH_VALUE
    if isinstance(value, dict):
        for name, part in schema.get("properties", {}).items():
            if name in value and (changed := _off_enum(value[name], part)) is not None:
                return {**value, name: changed}
    if isinstance(value, list):
        changed = _off_enum(value[0] if value else None, schema.get("items"))
        return None if changed is None else [changed, *value[1:]]
    return None


def _wrong_enum(output: Output, asked: Asked, _: Fault) -> str:
    return json.dumps(_off_enum(output, asked.schema) or {_first_key(output): {_NO_SUCH_VALUE: True}})


def _truncated(output: Output, _: Asked, __: Fault) -> str:
    whole = json.dumps(output)
    return whole[: len(whole) // 2]


def _duplicate_key(output: Output, _: Asked, __: Fault) -> str:
    first = json.dumps(_first_key(output))
    return f"{{{first}: null, {json.dumps(output)[1:]}"


def _words(output: Output, _: Asked, __: Fault) -> str:
    """An answer as people write it: no JSON at all."""
    return "; ".join(f"{name}: {value}" for name, value in output.items()) or "none"


#: The model's text, from the right output. Strings are escaped to ASCII, so half a surrogate pair is ``\ud83d``.
TEXTS: dict[str, Spoil] = {
    "truncated": _truncated,
    "content_filter": lambda *_: "",
    "refusal": lambda *_: _SORRY,
    "refusal_text": lambda *_: _SORRY,
    "empty": lambda *_: "",
    "null_content": lambda *_: "",
    "wrong_shape": lambda output, *_: json.dumps({"result": [output]}),
    "wrong_enum": _wrong_enum,
    "extra_key": lambda output, *_: json.dumps({**output, "unexpected": True}),
    "fenced": lambda output, *_: f"```json\n{json.dumps(output, indent=2)}\n```",
    "prose": lambda output, *_: f"Sure! Here is the JSON:\n\n{json.dumps(output)}\n\nLet me know if it helps.",
    "nan": lambda output, *_: json.dumps({**output, _first_key(output): float("nan")}),
    "duplicate_key": _duplicate_key,
    "not_json": lambda output, *_: json.dumps(output).replace('"', "").replace(":", " ="),
    "ignore_schema": _words,
    "lone_surrogate": lambda output, *_: json.dumps(_in_first_string(output, lambda text: "\ud83d" + text[1:])),
    "nul": lambda output, *_: json.dumps(_in_first_string(output, lambda text: "\0" + text[1:])),
    "big_answer": lambda output, _, fault: json.dumps(_in_first_string(output, lambda _: "x" * fault.size)),
}


def _choice(**changes: Json) -> Callable[[dict[str, Any], Fault], None]:
    return lambda body, _: body["choices"][0].update(changes)


def _usage(**changes: Json) -> Callable[[dict[str, Any], Fault], None]:
    return lambda body, _: body["usage"].update(changes)


def _message(body: dict[str, Any]) -> dict[str, Any]:
    message: dict[str, Any] = body["choices"][0]["message"]
    return message


def _refusal(body: dict[str, Any], _: Fault) -> None:
    message = _message(body)
    message.update(refusal=message["content"], content=None)


def _content_parts(body: dict[str, Any], _: Fault) -> None:
    message = _message(body)
    message["content"] = [{"type": "text", "text": message["content"]}]


def _tool_calls_only(body: dict[str, Any], _: Fault) -> None:
    message = _message(body)
    call = {"id": "call_1", "type": "function", "function": {"name": "answer", "arguments": message["content"]}}
    message.update(content=None, tool_calls=[call])
    body["choices"][0]["finish_reason"] = "tool_calls"


#: Changes to the body, after what it bills is fixed.
BODIES: dict[str, Callable[[dict[str, Any], Fault], None]] = {
    "truncated": _choice(finish_reason="length"),
    "content_filter": _choice(finish_reason="content_filter"),
    "refusal": _refusal,
    "null_content": lambda body, _: _message(body).update(content=None),
    "content_parts": _content_parts,
    "tool_calls_only": _tool_calls_only,
    "no_choices": lambda body, _: body.update(choices=[]),
    "missing_usage": lambda body, _: body.pop("usage"),
    "negative_usage": _usage(prompt_tokens=-5, completion_tokens=-1, total_tokens=-6),
    "huge_usage": _usage(prompt_tokens=10**15, completion_tokens=10**15, total_tokens=2 * 10**15),
    "other_tier": lambda body, fault: body.update(service_tier=fault.tier),
    "other_model": lambda body, fault: body.update(model=fault.model),
}

#: Changes to the bytes.
RAWS: dict[str, Callable[[bytes], bytes]] = {
    "cut_json_body": lambda raw: raw[: len(raw) * 2 // 3],
    "invalid_utf8": lambda raw: raw.replace(b'"content":"', b'"content":"\xff\xfe', 1),
}
