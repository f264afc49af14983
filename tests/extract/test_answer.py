"""Answers obey the schema, and say something about the text."""

import json
import string
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llmbatch.extract import answer
from llmbatch.types import Message

TEXT = (
    "Invoice INV-48213 was charged twice on 2026-03-04. I want a refund of 49.5 euros for the second charge. "
    "Please write to jo.novak@example.com. The app also crashes with error 17 when I open the invoice list."
)


def ask(text: str, schema: dict[str, Any], system: str = "") -> dict[str, Any]:
    return answer([{"role": "system", "content": system}, {"role": "user", "content": text}], schema)


def one(field: dict[str, Any], name: str = "value", text: str = TEXT, system: str = "") -> Any:
    schema = {"type": "object", "properties": {name: field}, "required": [name], "additionalProperties": False}
    given = ask(text, schema, system)
    jsonschema_rs.validator_for(schema, validate_formats=True).validate(given)
    return given[name]


@pytest.mark.parametrize(
    ("name", "field", "expected"),
    [
        ("when", {"type": "string", "format": "date"}, "2026-03-04"),
        ("mail", {"type": ["string", "null"], "format": "email"}, "jo.novak@example.com"),
        ("host", {"anyOf": [{"type": "null"}, {"type": "string", "format": "ipv4"}]}, None),
        ("invoice", {"type": "string", "pattern": r"^INV-\d{5}$"}, "INV-48213"),
        ("code", {"type": "string", "pattern": "^[A-Z]{2}[0-9]{3}$"}, "AA000"),
        ("amount", {"type": "number"}, 49.5),
        ("errors", {"type": "integer", "minimum": 10, "maximum": 20}, 20),
        ("is_refund", {"type": "boolean"}, True),
        ("is_shipping", {"type": "boolean"}, False),
        ("language", {"type": "string"}, "en"),
        ("kind", {"enum": ["praise", "refund", "other"]}, "refund"),
        ("kind", {"enum": ["praise", "question", "other"]}, "other"),
        ("version", {"const": 3}, 3),
        ("nothing", {"type": "null"}, None),
    ],
)
def test_one_field(name: str, field: dict[str, Any], expected: Any) -> None:
    assert one(field, name) == expected


def test_values_are_chosen_by_the_prompts_definitions() -> None:
    system = "Tags:\n- money: invoice, charged twice\n- `fault`: crash, error\n- parcel: courier, tracking"
    field = {"type": "array", "items": {"enum": ["parcel", "fault", "money"]}, "minItems": 1, "uniqueItems": True}
    assert one(field, "tags", system=system) == ["money", "fault"]


def test_a_cue_of_function_words_is_looked_for_as_it_stands() -> None:
    system = "- how_to: how do I\n- idea: please add"
    assert one({"enum": ["idea", "how_to"]}, text="How do I open this?", system=system) == "how_to"


def test_strings_by_their_names() -> None:
    assert one({"type": "string", "maxLength": 60}, "headline").startswith("Invoice INV-48213 was charged twice")
    assert one({"type": "array", "items": {"type": "string"}}, "keywords")[0].casefold() in TEXT.casefold()
    points = one({"type": "array", "items": {"type": "string"}, "maxItems": 2}, "key_points")
    assert len(points) == 2
    assert all(point in TEXT for point in points)


def test_a_recursive_schema_ends() -> None:
    node: dict[str, Any] = {
        "type": "object",
        "properties": {
            "name": {"type": "string"},
            "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]},
            "children": {"type": "array", "items": {"$ref": "#/$defs/node"}},
        },
        "required": ["name", "next", "children"],
        "additionalProperties": False,
    }
    schema = {"$ref": "#/$defs/node", "$defs": {"node": node}}
    jsonschema_rs.validator_for(schema).validate(ask(TEXT, schema))


def test_the_first_branch_that_works_is_taken() -> None:
    branches = [{"type": "string", "pattern": r"^\p{Lu}{40}$"}, {"type": "integer", "minimum": 1}]
    assert isinstance(one({"oneOf": branches}), int)


SUMMARY = {"type": "object", "properties": {"summary": {"type": "string"}}}


def test_only_the_delimited_text_counts() -> None:
    prompt = "Put the text between <text> and </text>.\n<text>\nThe parcel is late.\n</text>\nThanks."
    assert ask(prompt, SUMMARY) == {"summary": "The parcel is late."}


def test_a_reask_is_about_the_same_text_and_shorter() -> None:
    text = " ".join(f"The council of Corran Bay met for the {i}th time about the harbour wall." for i in range(12))
    asked: list[Message] = [{"role": "user", "content": text}]
    first = answer(asked, SUMMARY)["summary"]
    again: list[Message] = [
        *asked,
        {"role": "assistant", "content": json.dumps({"summary": first})},
        {"role": "user", "content": "Your answer is not valid: too long."},
    ]
    second = answer(again, SUMMARY)["summary"]
    assert second in text
    assert len(second) < len(first)


def test_half_a_surrogate_pair_does_no_harm() -> None:
    assert json.dumps(ask("half \ud83d of it", SUMMARY)).isascii()


def strings() -> st.SearchStrategy[dict[str, Any]]:
    lengths = st.tuples(st.integers(0, 40), st.integers(0, 300)).map(
        lambda t: {"type": "string", "minLength": t[0], "maxLength": t[0] + t[1]}
    )
    formats = st.sampled_from(
        ["date", "date-time", "time", "email", "uri", "uuid", "ipv4", "ipv6", "hostname", "duration"]
    )
    patterns = st.sampled_from(
        [r"^[A-Z]{3}-\d{4}$", "^(ja|nein)$", r"^\w+$", "[0-9]{2,}", "^[a-z]+(_[a-z]+)*$", "^.{3,9}$"]
    )
    return st.one_of(
        lengths,
        formats.map(lambda f: {"type": "string", "format": f}),
        patterns.map(lambda p: {"type": "string", "pattern": p}),
    )  # fmt: skip


def numeric() -> st.SearchStrategy[dict[str, Any]]:
    def build(low: int, width: int, kind: str, keys: tuple[str, str], multiple: float | None) -> dict[str, Any]:
        schema = {"type": kind, keys[0]: low, keys[1]: low + 20 + width}
        return schema if multiple is None else schema | {"multipleOf": multiple}

    return st.builds(
        build,
        st.integers(-100, 100),
        st.integers(0, 100),
        st.sampled_from(["integer", "number"]),
        st.tuples(st.sampled_from(["minimum", "exclusiveMinimum"]), st.sampled_from(["maximum", "exclusiveMaximum"])),
        st.sampled_from([None, 1, 3, 0.5, 2.5]),
    )


def enums() -> st.SearchStrategy[dict[str, Any]]:
    values = st.one_of(st.text(string.ascii_lowercase, min_size=1, max_size=8), st.integers(-5, 5), st.none())
    return st.lists(values, min_size=1, max_size=6, unique_by=repr).map(lambda v: {"enum": v})


def arrays(of: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    return st.builds(
        lambda items, least, more: {"type": "array", "items": items, "minItems": least, "maxItems": least + more},
        of,
        st.integers(0, 4),
        st.integers(0, 4),
    )


def distinct() -> st.SearchStrategy[dict[str, Any]]:
    roomy: st.SearchStrategy[dict[str, Any]] = st.sampled_from(
        [{"enum": ["a", "b", "c", "d", "e"]}, {"type": "integer"}, {"type": "string", "maxLength": 60}]
    )
    return arrays(roomy).map(lambda a: {**a, "minItems": min(a["minItems"], 3), "uniqueItems": True})


def nullable(of: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    return st.builds(lambda inner, word: {word: [inner, {"type": "null"}]}, of, st.sampled_from(["anyOf"]))


def objects(of: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    names = st.sampled_from(["summary", "title", "score", "tags", "is_ok", "when", "points", "language", "x"])
    return st.dictionaries(names, of, max_size=4).map(
        lambda p: {"type": "object", "properties": p, "required": list(p), "additionalProperties": False}
    )


LEAVES = st.one_of(strings(), numeric(), enums(), distinct(), st.just({"type": "boolean"}), st.just({"const": "fixed"}))
FIELDS = st.recursive(LEAVES, lambda of: st.one_of(arrays(of), nullable(of), objects(of)), max_leaves=8)
TEXTS = st.one_of(st.text(max_size=200), st.sampled_from([TEXT, "", "🎉", "注文が届きません。返金してください。"]))


@given(objects(FIELDS), TEXTS)
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_every_answer_is_valid(schema: dict[str, Any], text: str) -> None:
    given = ask(text, schema)
    jsonschema_rs.validator_for(schema, validate_formats=True).validate(given)
    assert given == ask(text, schema)
