from typing import Any, Literal

import jsonschema_rs
import pytest
from pydantic import BaseModel, ConfigDict, Field

from llmbatch.providers.strict import to_strict


def closed(**properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


TEXT = {"type": "string"}
NODE = closed(name=TEXT, children={"type": "array", "items": {"$ref": "#/$defs/Node"}})


@pytest.mark.parametrize(
    "schema",
    [
        closed(),
        closed(a=TEXT),
        closed(z={"type": "integer", "minimum": 1}, a={"type": ["number", "null"], "multipleOf": 0.5}),
        closed(a={"type": "string", "enum": ["x", "y"], "description": "which"}),
        closed(a={"type": "array", "items": TEXT, "minItems": 1, "maxItems": 3}),
        closed(a=closed(b=closed(c={"type": "boolean"}))),
        closed(a={"anyOf": [TEXT, {"type": "null"}]}),
        closed(a={"type": "string", "format": "date"}, b={"type": "string", "pattern": "^[a-z]+$"}),
        closed(a={"$ref": "#/$defs/A"}) | {"$defs": {"A": closed(b=TEXT)}},
        closed(a={"$ref": "#/definitions/A"}) | {"definitions": {"A": TEXT}},
    ],
)
def test_what_strict_mode_knows_stays(schema: dict[str, Any]) -> None:
    assert to_strict(schema) == schema


@pytest.mark.parametrize(
    ("node", "strict"),
    [
        ({"type": "string", "minLength": 1, "maxLength": 9, "default": "x", "examples": ["y"]}, TEXT),
        ({"type": "string", "format": "uri"}, TEXT),
        ({"type": "string", "pattern": "^(?!a)b"}, TEXT),
        ({"type": "string", "pattern": "^(?:a|b)$"}, {"type": "string", "pattern": "^(?:a|b)$"}),
        (
            {"type": "array", "items": TEXT, "uniqueItems": True, "contains": {"const": "x"}},
            {"type": "array", "items": TEXT},
        ),
        ({"type": "string", "not": {"const": "x"}}, TEXT),
        ({"enum": ["x", "y"]}, {"type": "string", "enum": ["x", "y"]}),
        ({"enum": ["x", None, 1]}, {"type": ["string", "null", "integer"], "enum": ["x", None, 1]}),
        ({"const": True}, {"type": "boolean", "const": True}),
        ({"oneOf": [TEXT, {"type": "null"}], "discriminator": {}}, {"anyOf": [TEXT, {"type": "null"}]}),
        ({"$ref": "#/$defs/A", "description": "d", "default": 1}, {"$ref": "#/$defs/A"}),
        ({"type": "object", "properties": {"b": TEXT}, "required": ["b"]}, closed(b=TEXT)),
    ],
)
def test_what_strict_mode_lacks_is_left_to_the_judge(node: dict[str, Any], strict: dict[str, Any]) -> None:
    tables = {"$defs": {"A": TEXT}}
    assert to_strict(closed(a=node) | tables) == closed(a=strict) | tables


@pytest.mark.parametrize(
    "optional",
    [
        {"type": "null"},
        {"type": ["string", "null"]},
        {"type": ["string", "null"], "enum": ["x", None]},
        {"anyOf": [TEXT, {"type": "null"}]},
        {"anyOf": [TEXT, {"$ref": "#/$defs/None"}]},
        {"$ref": "#/$defs/Maybe~1text"},
    ],
)
def test_an_optional_property_that_may_be_null_becomes_required(optional: dict[str, Any]) -> None:
    tables = {"$defs": {"None": {"type": "null"}, "Maybe/text": {"type": ["string", "null"]}}}
    schema = closed(a=TEXT, b=optional) | tables
    assert to_strict(schema | {"required": ["a"]}) == schema


@pytest.mark.parametrize(
    "optional",
    [TEXT, {"type": ["string", "null"], "enum": ["x"]}, {"$ref": "#/$defs/A"}, {"anyOf": [TEXT, {"type": "integer"}]}],
)
def test_an_optional_property_that_may_not_be_null_has_no_strict_form(optional: dict[str, Any]) -> None:
    schema = closed(a=TEXT, b=optional) | {"$defs": {"A": TEXT}}
    assert to_strict(schema | {"required": ["a"]}) is None
    assert to_strict(schema) is not None


@pytest.mark.parametrize(
    "node",
    [
        {},
        True,
        {"description": "anything"},
        {"const": {"x": 1}},
        {"type": "object"},
        {"type": "object", "additionalProperties": False},
        {"type": "object", "additionalProperties": {"type": "integer"}},
        closed(b=TEXT) | {"additionalProperties": True},
        closed(b=TEXT) | {"patternProperties": {"^x": TEXT}},
        closed(b=TEXT) | {"required": ["b", "c"]},
        {"type": "object", "properties": {"b": TEXT}, "required": ["b"], "allOf": [{"required": ["c"]}]},
        {"type": "array"},
        {"type": "array", "items": True},
        {"type": "array", "items": TEXT, "prefixItems": [{"type": "integer"}]},
        {"anyOf": [TEXT, {"minLength": 2}]},
        {"allOf": [TEXT]},
        {"type": "array", "items": {"type": "object"}},
    ],
)
def test_what_has_no_strict_form(node: Any) -> None:
    assert to_strict(closed(a=node)) is None
    assert to_strict(closed(a={"$ref": "#/$defs/A"}) | {"$defs": {"A": node}}) is None


@pytest.mark.parametrize("schema", [{}, {"type": "string"}, closed(a=TEXT) | {"anyOf": [{"required": ["a"]}]}])
def test_the_top_level_is_a_plain_object(schema: dict[str, Any]) -> None:
    assert to_strict(schema) is None


def test_a_recursive_top_level_is_written_out() -> None:
    assert to_strict({"$ref": "#/$defs/Node", "$defs": {"Node": NODE}}) == NODE | {"$defs": {"Node": NODE}}


def test_the_schema_itself_is_untouched() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string", "maxLength": 3}}, "required": ["a"]}
    to_strict(schema)
    assert schema == {"type": "object", "properties": {"a": {"type": "string", "maxLength": 3}}, "required": ["a"]}


def test_a_pydantic_model() -> None:
    class Person(BaseModel):
        name: str = Field(max_length=20)
        role: Literal["customer", "agent"]

    class Output(BaseModel):
        model_config = ConfigDict(extra="forbid")
        summary: str = Field(min_length=1, description="One sentence.")
        people: list[Person]
        owner: Person | None = None

    schema = Output.model_json_schema()
    strict = to_strict(schema)
    assert strict is not None
    assert list(strict["properties"]) == strict["required"] == ["summary", "people", "owner"]
    answer = {"summary": "ok", "people": [{"name": "Ann", "role": "agent"}], "owner": None}
    for accepting in (schema, strict):
        assert jsonschema_rs.is_valid(accepting, answer)
    del answer["owner"]
    assert jsonschema_rs.is_valid(schema, answer)
    assert not jsonschema_rs.is_valid(strict, answer)
