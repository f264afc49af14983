"""What a client asked for: the body of a chat completion request, read as strictly as the real API reads it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import orjson

from llmbatch.simulator.form import BadRequest, form
from llmbatch.types import Json

_ROLES = {"developer", "system", "user", "assistant", "tool"}


@dataclass(frozen=True, slots=True)
class Asked:
    """A chat completion request that is well formed."""

    body: Mapping[str, Json]
    model: str
    messages: tuple[dict[str, str], ...]  #: role and content as text
    user_text: str  #: the first user message; stays the same when an answer is asked for again
    user_hash: str  #: its SHA-256
    response_format: str  #: text, json_object or json_schema
    schema: Mapping[str, Json]  #: of the answer wanted
    max_tokens: int | None
    tier: str | None

    @property
    def key(self) -> str:
        """SHA-256 of the canonical body as received."""
        return hashlib.sha256(orjson.dumps(self.body, option=orjson.OPT_SORT_KEYS)).hexdigest()


def read(raw: bytes) -> Asked:
    """Raises BadRequest where the real API would answer 400."""
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError:
        raise BadRequest("We could not parse the JSON body of your request.") from None
    if not isinstance(body, dict):
        raise BadRequest("The JSON body of your request is no object.")
    model = body.get("model")
    if not isinstance(model, str) or not model:
        raise BadRequest("you must provide a model parameter", "model")
    if body.get("stream"):
        raise BadRequest("The simulator does not stream.", "stream")
    messages = _messages(body.get("messages"))
    user_text = next((m["content"] for m in messages if m["role"] == "user"), "")
    response_format, schema = form(body.get("response_format"), messages)
    return Asked(
        body=body,
        model=model,
        messages=messages,
        user_text=user_text,
        user_hash=hashlib.sha256(user_text.encode()).hexdigest(),
        response_format=response_format,
        schema=schema,
        max_tokens=_max_tokens(body),
        tier=body.get("service_tier"),
    )


def _messages(messages: Json) -> tuple[dict[str, str], ...]:
    if not isinstance(messages, list):
        raise BadRequest("Missing required parameter: 'messages'.", "messages")
    if not messages:
        raise BadRequest("Invalid 'messages': empty array. Expected an array with minimum length 1.", "messages")
    return tuple(_message(message, f"messages[{no}]") for no, message in enumerate(messages))


def _message(message: Json, where: str) -> dict[str, str]:
    if not isinstance(message, dict) or message.get("role") not in _ROLES:
        raise BadRequest(f"Invalid value for '{where}.role'. Supported values are: {sorted(_ROLES)}.", where)
    content = message.get("content")
    if isinstance(content, list):
        content = "".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    if not isinstance(content, str):
        raise BadRequest(f"Invalid value for '{where}.content': expected a string.", f"{where}.content")
    return {"role": message["role"], "content": content}


def _max_tokens(body: Mapping[str, Json]) -> int | None:
    for name in ("max_completion_tokens", "max_tokens"):
        value = body.get(name)
        if value is not None and (type(value) is not int or value < 1):
            raise BadRequest(f"Invalid '{name}': integer below minimum value. Expected a value >= 1.", name)
        if value is not None:
            return int(value)
    return None
