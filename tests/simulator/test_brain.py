"""The constant answer for benchmarks."""

from __future__ import annotations

from typing import Any

import jsonschema_rs
import pytest

from llmbatch.simulator.brain import constant
from tests.simulator.client import SCHEMA

SCHEMAS: list[dict[str, Any]] = [
    SCHEMA,
    {"type": "object", "properties": {"n": {"type": "integer", "minimum": 3}, "x": {"exclusiveMinimum": 1}}},
    {"properties": {"low": {"type": "number", "maximum": -2}, "yes": {"type": "boolean"}, "no": {"type": "null"}}},
    {
        "type": "object",
        "properties": {"s": {"type": "string", "minLength": 50}, "t": {"type": "string", "maxLength": 2}},
    },
    {"type": "object", "properties": {"a": {"type": ["array", "null"], "items": {"const": 7}, "minItems": 3}}},
    {"type": "object", "properties": {"a": {"type": "array", "maxItems": 0}}},
    {
        "type": "object",
        "properties": {"a": {"type": "array", "items": {"enum": [1, 2, 3]}, "minItems": 2, "uniqueItems": True}},
    },
    {
        "$defs": {"Tag": {"enum": ["x"]}},
        "type": "object",
        "properties": {"tag": {"$ref": "#/$defs/Tag"}, "either": {"anyOf": [{"type": "string"}, {"type": "null"}]}},
        "required": ["tag", "either"],
    },
]


@pytest.mark.parametrize("schema", SCHEMAS)
def test_the_constant_is_on_schema(schema: dict[str, Any]) -> None:
    assert isinstance(constant(schema, schema), dict)
    assert [e.message for e in jsonschema_rs.iter_errors(schema, constant(schema, schema))] == []
