"""The form of answer that a request wants: its ``response_format``, or the schema that its instructions hold."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache

import jsonschema_rs
import orjson

from llmbatch.types import Json

_BLOCK = re.compile(r"```json\s*(\{.*?\})\s*```", re.DOTALL)
_NO_SCHEMAS = ("enum", "const", "default", "examples")
_ANY_ANSWER: Mapping[str, Json] = {
    "type": "object",
    "properties": {"answer": {"type": "string"}},
    "required": ["answer"],
    "additionalProperties": False,
}


class BadRequest(ValueError):
    """The real API would answer 400. ``param`` names the field at fault."""

    def __init__(self, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param


def form(wanted: Json, messages: Sequence[Mapping[str, str]]) -> tuple[str, Mapping[str, Json]]:
    """The response format's type and the schema of the answer. Raises BadRequest."""
    if wanted is None:
        return "text", _instructed(messages)
    kind = wanted.get("type") if isinstance(wanted, dict) else None
    if kind == "json_schema":
        return kind, _json_schema(wanted.get("json_schema"))
    if kind == "json_object" and not any("json" in m["content"].lower() for m in messages):
        raise BadRequest(
            "'messages' must contain the word 'json' in some form, to use 'response_format' of type 'json_object'.",
            "messages",
        )
    if kind not in ("text", "json_object"):
        raise BadRequest("Invalid value for 'response_format.type'.", "response_format")
    return kind, _instructed(messages)


def _json_schema(wanted: Json) -> Mapping[str, Json]:
    if not isinstance(wanted, dict) or not re.fullmatch(r"[\w-]{1,64}", str(wanted.get("name", ""))):
        raise BadRequest("Invalid 'response_format.json_schema.name'.", "response_format.json_schema.name")
    schema = wanted.get("schema")
    if not isinstance(schema, dict):
        raise BadRequest("Missing required parameter: 'response_format.json_schema.schema'.", "response_format")
    if problem := _problem(orjson.dumps(schema), strict=bool(wanted.get("strict"))):
        raise BadRequest(f"Invalid schema for response_format {wanted['name']!r}: {problem}", "response_format")
    return schema


@lru_cache(maxsize=64)
def _problem(schema: bytes, *, strict: bool) -> str | None:
    """Why a server would refuse this schema; None when it would not."""
    loaded = orjson.loads(schema)
    try:
        jsonschema_rs.validator_for(loaded, offline=True)
    except jsonschema_rs.ValidationError as error:
        return error.message
    if strict and loaded.get("type") != "object":
        return "schema must be a JSON Schema of 'type: \"object\"'."
    return _loose(loaded, ()) if strict else None


def _loose(schema: Json, place: tuple[str, ...]) -> str | None:
    """The first object that strict mode refuses: open, or with an optional property."""
    if isinstance(schema, list):
        return next((p for no, part in enumerate(schema) if (p := _loose(part, (*place, str(no))))), None)
    if not isinstance(schema, dict):
        return None
    if "object" in _types(schema):
        if schema.get("additionalProperties") is not False:
            return f"In context={place}, 'additionalProperties' is required to be supplied and to be false."
        if missing := set(schema.get("properties", {})) - set(schema.get("required", ())):
            return f"In context={place}, 'required' is required to include every key. Missing {min(missing)!r}."
    parts = ((name, part) for name, part in schema.items() if name not in _NO_SCHEMAS)
    return next((p for name, part in parts if (p := _loose(part, (*place, name)))), None)


def _types(schema: Mapping[str, Json]) -> Sequence[Json]:
    types = schema.get("type", ())
    return types if isinstance(types, list) else (types,)


def _instructed(messages: Sequence[Mapping[str, str]]) -> Mapping[str, Json]:
    """The object schema that the instructions hold in a ```json block; otherwise any answer will do."""
    for message in messages:
        for block in _BLOCK.findall(message["content"]):
            if (schema := _schema(block)) is not None:
                return schema
    return _ANY_ANSWER


def _schema(block: str) -> dict[str, Json] | None:
    try:
        found = orjson.loads(block)
    except orjson.JSONDecodeError:
        return None
    usable = isinstance(found, dict) and "properties" in found and not _problem(orjson.dumps(found), strict=False)
    return found if usable else None
