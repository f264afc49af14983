"""What answers: the extractive brain of the offline provider, or a constant that the schema allows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Protocol

import orjson

from llmbatch import extract
from llmbatch.simulator.asked import Asked
from llmbatch.types import Json


class Brain(Protocol):
    """Answers requests and counts tokens."""

    def answer(self, asked: Asked) -> dict[str, Json]:
        """An answer that the request's schema allows."""
        ...

    def tokens(self, text: str) -> int:
        """About as many tokens as a real model would count."""
        ...


class Extract:
    """The offline provider's brain: sentences, phrases and labels out of the row itself."""

    def answer(self, asked: Asked) -> dict[str, Json]:
        """An answer drawn from the text of the conversation."""
        return extract.answer(asked.messages, asked.schema)

    def tokens(self, text: str) -> int:
        """By rule, within some 25 % of a real vocabulary."""
        return extract.count_tokens(text)


class Echo:
    """The cheapest answer there is, for benchmarks: a constant of the schema, four bytes a token."""

    def answer(self, asked: Asked) -> dict[str, Json]:
        """The constant; the same for all rows."""
        return _constant_object(orjson.dumps(asked.schema))

    def tokens(self, text: str) -> int:
        """A quarter of the characters, at least 1 for any text."""
        return (len(text) + 3) // 4


@lru_cache(maxsize=64)
def _constant_object(schema: bytes) -> dict[str, Json]:
    loaded = orjson.loads(schema)
    answer = constant(loaded, loaded)
    return answer if isinstance(answer, dict) else {"answer": answer}


def constant(schema: Json, root: Mapping[str, Json]) -> Json:
    """A small value that a plain schema allows: types, enums, bounds, lengths, references. Patterns are not obeyed."""
    if not isinstance(schema, dict):
        return None
    if "$ref" in schema:
        return constant(_target(str(schema["$ref"]), root), root)
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return schema["enum"][0]
    for choice in ("anyOf", "oneOf", "allOf"):
        if choice in schema:
            return constant(schema[choice][0], root)
    kind = schema.get("type", "object" if "properties" in schema else "string")
    return _OF_TYPE[kind[0] if isinstance(kind, list) else kind](schema, root)


def _target(ref: str, root: Mapping[str, Json]) -> Json:
    found: Any = root
    for part in ref.removeprefix("#/").split("/"):
        found = found[part]
    return found


def _object(schema: Mapping[str, Json], root: Mapping[str, Json]) -> Json:
    return {name: constant(part, root) for name, part in schema.get("properties", {}).items()}


def _array(schema: Mapping[str, Json], root: Mapping[str, Json]) -> Json:
    items, least = schema.get("items", {}), schema.get("minItems", 0)
    if isinstance(items, dict) and len(items.get("enum", ())) >= least > 1:
        return items["enum"][:least]  # distinct, in case the schema wants that
    return [constant(items, root)] * max(least, min(1, schema.get("maxItems", 1)))


def _string(schema: Mapping[str, Json], _: Mapping[str, Json]) -> Json:
    return "simulated".ljust(schema.get("minLength", 0), ".")[: schema.get("maxLength")]


def _number(schema: Mapping[str, Json], _: Mapping[str, Json]) -> Json:
    if "exclusiveMinimum" in schema:
        return schema["exclusiveMinimum"] + 1
    return schema.get("minimum", min(0, schema.get("maximum", 0)))


_OF_TYPE: dict[str, Callable[[Mapping[str, Json], Mapping[str, Json]], Json]] = {
    "object": _object,
    "array": _array,
    "string": _string,
    "integer": _number,
    "number": _number,
    "boolean": lambda *_: True,
    "null": lambda *_: None,
}

BRAINS: dict[str, Callable[[], Brain]] = {"extract": Extract, "echo": Echo}
