"""How long an answer is that a JSON Schema allows: a guess, for the first night."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llmbatch.types import Json

_CHARS_A_TOKEN = 4.0
_USUAL_SHARE = 0.5  #: of ``maxLength`` that a text usually has
_TEXT = 120  #: characters of a text without bounds
_ITEMS = 3  #: of an array without bounds
_DEEPEST = 8


def answer_tokens(schema: Mapping[str, Json]) -> float:
    """Tokens of a usual answer: names, punctuation, and values of a usual length."""
    return max(2.0, _chars(schema, schema, _DEEPEST) / _CHARS_A_TOKEN)


def _chars(schema: Json, root: Mapping[str, Json], left: int) -> float:
    if not isinstance(schema, Mapping) or not left:
        return _TEXT
    if "$ref" in schema:
        return _chars(_target(str(schema["$ref"]), root), root, left - 1)
    if "const" in schema:
        return float(len(str(schema["const"])) + 2)
    if "enum" in schema:
        return sum(len(str(value)) for value in schema["enum"]) / max(len(schema["enum"]), 1) + 2
    for choice in ("anyOf", "oneOf", "allOf"):
        if parts := schema.get(choice):
            return max(_chars(part, root, left - 1) for part in parts)
    return _of_type(schema, root, left)


def _of_type(schema: Mapping[str, Json], root: Mapping[str, Json], left: int) -> float:
    kinds = schema.get("type", "object" if "properties" in schema else "string")
    match kinds[0] if isinstance(kinds, list) and kinds else kinds:
        case "object":
            parts = schema.get("properties", {}).items()
            return 2 + sum(len(name) + 5 + _chars(part, root, left - 1) for name, part in parts)
        case "array":
            least = float(schema.get("minItems", 0))
            items = min(float(schema.get("maxItems", least + _ITEMS)), least + _ITEMS)
            return 2 + (least + items) / 2 * (_chars(schema.get("items", {}), root, left - 1) + 2)
        case "integer" | "number":
            return 6
        case "boolean" | "null":
            return 5
    most = schema.get("maxLength")
    return 2 + max(float(schema.get("minLength", 0)), _TEXT if most is None else most * _USUAL_SHARE)


def _target(ref: str, root: Mapping[str, Json]) -> Json:
    found: Any = root
    for part in ref.removeprefix("#/").split("/"):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found
