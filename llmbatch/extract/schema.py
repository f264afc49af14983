"""What a JSON Schema asks for at one place: references followed, ``allOf`` merged, null set apart."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jsonschema_rs

from llmbatch.types import Json

Schema = Mapping[str, Json]


def flat(schema: Json, root: Schema) -> dict[str, Json]:
    """A schema with its ``$ref`` and ``allOf`` merged into it; ``true`` and what cannot be followed are empty."""
    merged: dict[str, Json] = dict(schema) if isinstance(schema, Mapping) else {}
    for _ in range(32):  # a reference to itself ends here
        if "$ref" in merged:
            merged = _merge(_target(str(merged.pop("$ref")), root), merged)
        elif "allOf" in merged:
            for part in merged.pop("allOf"):
                merged = _merge(merged, flat(part, root))
        else:
            break
    return merged


def _merge(left: Schema, right: Schema) -> dict[str, Json]:
    merged = {**left, **right}
    if "properties" in left and "properties" in right:
        merged["properties"] = {**left["properties"], **right["properties"]}
    if "required" in left and "required" in right:
        merged["required"] = [*left["required"], *right["required"]]
    return merged


def _target(ref: str, root: Schema) -> Schema:
    found: Any = root
    for part in ref.removeprefix("#").strip("/").split("/") if ref.strip("#/") else ():
        name = part.replace("~1", "/").replace("~0", "~")
        found = found.get(name) if isinstance(found, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def branches(schema: Schema, root: Schema) -> list[dict[str, Json]]:
    """The choices of ``anyOf`` or ``oneOf``, each merged with what stands beside it; null last."""
    key = "anyOf" if "anyOf" in schema else "oneOf"
    beside = {name: value for name, value in schema.items() if name != key}
    merged = [_merge(beside, flat(branch, root)) for branch in schema[key]]
    return sorted(merged, key=is_null)  # False, that is other types, before True


def kind(schema: Schema) -> str:
    """The one type to answer with: the first that is not null, or what the other keywords speak of."""
    named = schema.get("type")
    types = [named] if isinstance(named, str) else [t for t in named or () if t != "null"] or list(named or ())
    if types:
        return str(types[0])
    for keywords, meant in _MEANT:
        if not keywords.isdisjoint(schema):
            return meant
    return "string"


_MEANT: tuple[tuple[set[str], str], ...] = (
    ({"properties", "required", "additionalProperties"}, "object"),
    ({"items", "prefixItems", "minItems", "maxItems", "uniqueItems"}, "array"),
    ({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"}, "number"),
)


def is_null(schema: Schema) -> bool:
    """Whether null is all that is allowed."""
    return schema.get("type") in ("null", ["null"]) or ("const" in schema and schema["const"] is None)


def allows_null(schema: Schema) -> bool:
    """Whether null may stand here, by a list of types."""
    return isinstance(schema.get("type"), list) and "null" in schema["type"] and "enum" not in schema


def is_valid(value: Json, schema: Schema, root: Schema) -> bool:
    """Whether a value is valid at a place; True where the schema cannot be read on its own."""
    tables = {name: root[name] for name in ("$defs", "definitions") if name in root}
    try:
        return jsonschema_rs.validator_for({**tables, **schema}, validate_formats=True, offline=True).is_valid(value)
    except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError, ValueError):
        return True
