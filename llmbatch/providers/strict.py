"""A JSON Schema as OpenAI's strict structured outputs take it, where that is possible without changing its meaning.

The rules are those of OpenAI's guide "Structured model outputs", section "Supported schemas"
(https://platform.openai.com/docs/guides/structured-outputs): every object closed, every property required, the top
level an object and no ``anyOf``, a type on every node, and only some of the keywords (``_KEPT``). Every other keyword,
such as ``not``, ``minLength``, ``maxLength``, ``uniqueItems``, ``contains`` or ``default``, is left out. That only
widens what the model may say, and the judge holds every answer to the whole schema. The guide's size limits (5,000
properties, 10 levels, 1,000 enum values) are left to the server, which refuses what is too large.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from jsonschema_rs import ValidatorMap, validator_map_for

from llmbatch.types import Json
from llmbatch.validate.schema import resolve

_KEPT = frozenset(
    {"type", "title", "description", "enum", "const", "pattern", "format", "multipleOf", "minItems", "maxItems"}
    | {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"}
)
_FORMATS = frozenset({"date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"})
_TABLES = ("$defs", "definitions")
_TYPES = {str: "string", bool: "boolean", int: "integer", float: "number", type(None): "null"}
#: Beside ``properties`` these may ask for further ones, which a closed object could never have.
_ADDING = frozenset({"patternProperties", "allOf", "anyOf", "oneOf", "if", "dependentSchemas", "$dynamicRef"})


class _NotStrict(Exception):
    """The schema says something that strict mode cannot say."""


def to_strict(schema: Mapping[str, Json]) -> dict[str, Json] | None:
    """A copy of a usable schema for ``response_format.json_schema`` with ``strict: true``; properties keep their order.

    None when no strict schema means the same: a property that may be left out but not be null, an object open to
    further properties by intention (``dict[str, int]``, ``additionalProperties: true``), a node without a type
    (``Any``), tuples. Then ask with ``strict: false`` or ``json_object``; the judge is the same.
    """
    reference = schema.get("$ref", "#")  # a recursive model's top level must be the object itself
    root = resolve(schema, reference)
    if root.get("type") != "object":
        return None
    validators = validator_map_for(dict(schema), offline=True)
    try:
        tables = {
            table: {
                name: _node(node, f"#/{table}/{_escaped(name)}", validators) for name, node in schema[table].items()
            }
            for table in _TABLES
            if table in schema
        }
        return _node(root, reference, validators) | tables
    except _NotStrict:
        return None


def _node(node: Json, at: str, validators: ValidatorMap) -> dict[str, Json]:
    """The strict copy of the schema node that stands at a JSON pointer."""
    if not isinstance(node, Mapping):
        raise _NotStrict
    if "$ref" in node:
        return {"$ref": node["$ref"]}  # strict mode takes no keyword beside it
    strict = {name: value for name, value in node.items() if name in _KEPT and _understood(name, value)}
    if "type" not in strict and (word := "anyOf" if "anyOf" in node else "oneOf") in node:
        branches = [_node(branch, f"{at}/{word}/{i}", validators) for i, branch in enumerate(node[word])]
        return strict | {"anyOf": branches}  # that only one of oneOf holds is the judge's business
    if "type" not in strict:
        strict["type"] = _type_of_values(node)
    if "object" in strict["type"]:
        strict |= _object(node, at, validators)
    if "array" in strict["type"]:
        strict["items"] = _items(node, at, validators)
    return strict


def _understood(keyword: str, value: Json) -> bool:
    """Whether strict mode knows this value: some of the formats, and patterns without lookaround."""
    if keyword == "format":
        return value in _FORMATS
    return keyword != "pattern" or re.search(r"\(\?<?[=!]", value) is None


def _object(node: Mapping[str, Any], at: str, validators: ValidatorMap) -> dict[str, Json]:
    properties, required = node.get("properties"), node.get("required", ())
    if properties is None or node.get("additionalProperties", False) is not False or not _ADDING.isdisjoint(node):
        raise _NotStrict
    paths = {name: f"{at}/properties/{_escaped(name)}" for name in properties}
    optional = paths.keys() - set(required)
    if set(required) - paths.keys() or not all(validators[paths[name]].is_valid(None) for name in optional):
        raise _NotStrict
    return {
        "properties": {name: _node(child, paths[name], validators) for name, child in properties.items()},
        "required": list(properties),
        "additionalProperties": False,
    }


def _items(node: Mapping[str, Any], at: str, validators: ValidatorMap) -> dict[str, Json]:
    if "prefixItems" in node:
        raise _NotStrict
    return _node(node.get("items"), f"{at}/items", validators)


def _type_of_values(node: Mapping[str, Any]) -> str | list[str]:
    """The type or types of an enum's or const's values, where the schema does not say them."""
    values = node.get("enum", [node["const"]] if "const" in node else [])
    types = list(dict.fromkeys(_TYPES.get(type(value), "") for value in values))
    if not types or "" in types:
        raise _NotStrict
    return types[0] if len(types) == 1 else types


def _escaped(name: str) -> str:
    """A property's name as a step of a JSON pointer."""
    return name.replace("~", "~0").replace("/", "~1")
