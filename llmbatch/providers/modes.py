"""How a server is asked for JSON of a given shape: json_schema, else json_object, else words in the prompt.

Also the one parameter that providers renamed: newer models refuse max_tokens and want max_completion_tokens. What a
server accepts is learned from its first refusal and remembered for the run. The judge never relies on any of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

import orjson

from llmbatch.providers.strict import to_strict
from llmbatch.types import Json, Message, Request


class Mode(StrEnum):
    """Ways to ask for structured output, best first."""

    JSON_SCHEMA = "json_schema"
    JSON_OBJECT = "json_object"
    INSTRUCTIONS = "instructions"


_NEXT = {Mode.JSON_SCHEMA: Mode.JSON_OBJECT, Mode.JSON_OBJECT: Mode.INSTRUCTIONS}


@dataclass(frozen=True, slots=True)
class Wire:
    """What a server is believed to accept."""

    mode: Mode = Mode.JSON_SCHEMA
    completion_tokens: bool = False  #: max_tokens goes by its newer name


class Modes:
    """What this server is known to accept.

    ``forms`` are the forms of response_format that it obeys, best first; None when that is to be found out. A server
    may ignore what it does not know without a word, so a form that is known to be ignored is never sent.
    """

    def __init__(self, note: Callable[[str], None], forms: Sequence[str] | None = None) -> None:
        best = Mode.JSON_SCHEMA if forms is None else Mode(forms[0]) if forms else Mode.INSTRUCTIONS
        self.current = Wire(best)
        self._note = note
        self._formats: dict[int, dict[str, Any]] = {}

    def body(self, request: Request) -> dict[str, Any]:
        """The request's wire body as the server takes it."""
        body: dict[str, Any] = {"model": request.model, **request.params}
        if self.current.completion_tokens and "max_tokens" in body:
            body["max_completion_tokens"] = body.pop("max_tokens")
        if request.tier is not None:
            body["service_tier"] = request.tier
        body["messages"] = [*self._messages(request), *request.turns]
        if self.current.mode is Mode.JSON_SCHEMA:
            body["response_format"] = self._format(request.schema)
        elif self.current.mode is Mode.JSON_OBJECT:
            body["response_format"] = {"type": "json_object"}
        return body

    def step_down(self, used: Wire, status: int, error: object) -> bool:
        """Learn from a refusal (its status and body); True when the request should be sent again as things are now."""
        if status not in (400, 404, 415, 422, 501):
            return False
        words = str(error).lower()
        renamed = "max_completion_tokens" in words and "max_tokens" in words
        shape = any(word in words for word in ("response_format", "json_schema", "json_object", "structured output"))
        if not (renamed or shape):
            return False
        if used != self.current:
            return True  # another row's refusal was faster
        if renamed and not used.completion_tokens:
            self.current = replace(used, completion_tokens=True)
            self._note("the model wants max_completion_tokens; max_tokens is sent under that name")
            return True
        if shape and used.mode in _NEXT:
            self.current = replace(used, mode=_NEXT[used.mode])
            self._note(f"the server does not accept {used.mode}; answers are asked for by {self.current.mode}")
            return True
        return False

    def _messages(self, request: Request) -> tuple[Message, ...]:
        if self.current.mode is Mode.JSON_SCHEMA:
            return request.messages
        words = (
            "Answer with one JSON object and nothing else. It must be valid against this JSON Schema:\n"
            f"```json\n{orjson.dumps(request.schema).decode()}\n```"
        )
        first, *rest = request.messages
        if first["role"] == "system":
            return ({"role": "system", "content": f"{first['content']}\n\n{words}"}, *rest)
        return ({"role": "system", "content": words}, first, *rest)

    def _format(self, schema: Mapping[str, Json]) -> dict[str, Any]:
        known = self._formats.get(id(schema))
        if known is None:
            strict = to_strict(schema)
            known = {
                "type": "json_schema",
                "json_schema": {"name": "output", "strict": strict is not None, "schema": strict or schema},
            }
            self._formats[id(schema)] = known  # a pipeline has one schema, held for the whole run
        return known
