import re
import socket
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jsonschema_rs
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbatch.reply import BrokenReply, parse_reply
from llmbatch.types import Reply, Row, Verdict
from llmbatch.validate import FINAL, Judge, check_schema, output_fields, output_of, reask_turns

ROW = Row(row_no=0, columns={"subject": "Refund", "body": "I want my money back"}, file="tickets.jsonl", line=1)
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "summary": {"type": "string", "minLength": 1, "maxLength": 60},
        "tags": {"type": "array", "items": {"enum": ["billing", "login"]}, "maxItems": 2, "uniqueItems": True},
        "score": {"type": "number"},
        "due": {"type": "string", "format": "date"},
        "note": {"anyOf": [{"type": "string", "maxLength": 3}, {"type": "null"}]},
    },
    "required": ["summary"],
    "additionalProperties": False,
}


def reply(text: str | None, **changes: Any) -> Reply:
    whole = Reply(raw="", text=text, finish_reason="stop", refusal=None, usage=None, model=None, tier=None)
    return replace(whole, **changes)


def judge(text: str | None, schema: dict[str, Any] = SCHEMA, **changes: Any) -> Verdict:
    return Judge(schema, None).judge(ROW, reply(text, **changes))


@pytest.mark.parametrize(
    ("text", "output"),
    [
        ('{"summary": "ok"}', {"summary": "ok"}),
        (' \n{"summary": "ok"}\n', {"summary": "ok"}),
        ('{"summary": "ok", "tags": ["login", "billing"]}', {"summary": "ok", "tags": ["login", "billing"]}),
        ('{"summary": "at 10:30: {a: \\"b\\": [1"}', {"summary": 'at 10:30: {a: "b": [1'}),
        ('{"summary": "\\u003a \\u003A"}', {"summary": ": :"}),
        ('{"summary": "a\\u0000b"}', {"summary": "a\x00b"}),
        ('{"summary": "\\ud83d\\ude00"}', {"summary": "😀"}),
        ('{"summary": "half \\ud83d"}', {"summary": "half \ufffd"}),
        ('{"summary": "ok", "due": "2026-02-28"}', {"summary": "ok", "due": "2026-02-28"}),
        ('```json\n{"summary": "ok"}\n```', {"summary": "ok"}),
        ('```\n{"summary": "ok"}\n```\n', {"summary": "ok"}),
        ('```JSON {"summary": "ok"}```', {"summary": "ok"}),
        ('```json\n{"summary": "use ```code```"}\n```', {"summary": "use ```code```"}),
    ],
)
def test_a_valid_answer(text: str, output: dict[str, Any]) -> None:
    assert judge(text) == Verdict(output)
    assert output_of(text) == output


@pytest.mark.parametrize(
    "text",
    [
        'Here is the summary: {"summary": "ok"}',
        '{"summary": "ok"}\n\nI hope this helps!',
        'Sure!\n```json\n{"summary": "ok"}\n```\nAnything else?',
        '\ufeff{"summary": "ok"}',
        '{"summary": "ok",}',
        "{'summary': 'ok'}",
        '{summary: "ok"}',
        '{"summary": "ok" /* done */}',
        '{“summary”: "ok"}',
        'I\'m sorry, but I can\'t help with all of it: {"summary": "ok"}',
    ],
)
def test_a_mended_answer(text: str) -> None:
    assert judge(text) == Verdict({"summary": "ok"}, repaired=True)
    assert output_of(text) == {"summary": "ok"}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("It is about a refund.", "the answer holds no JSON"),
        ("```json\n```", "the answer holds no JSON"),
        ('{"summary": "The customer wa', "the answer ends before its JSON does"),
        ('{"summary": "ok", "tags": ["login"', "the answer ends before its JSON does"),
        ('{"summary": "use {x} and [y]', "the answer ends before its JSON does"),
        ('{"summary": "ok"', "the answer ends before its JSON does"),
        ('{"summary": "ok\\', "the answer ends before its JSON does"),
        ('```json\n{"summary": "The cust', "the answer ends before its JSON does"),
        ('[{"summary": "ok"}, {"summary": "The', "the answer ends before its JSON does"),
        ('{"summary": "a"}{"summary": "b"}', "the answer holds more than one JSON value"),
        ('{"summary": "a"}\n{"summary": "b"}', "the answer holds more than one JSON value"),
        ('Draft: {"summary": "a"} Final: {"summary": "b"}', "the answer holds more than one JSON value"),
        ('{"summary": "a", "summary": "b"}', "a key occurs twice in one object"),
        ('{"summary": "a", "summary": "a"}', "a key occurs twice in one object"),
        ('{"summary": "a", "summ\\u0061ry": "b"}', "a key occurs twice in one object"),
        ('{"summary": "10:30", "summary": "b"}', "a key occurs twice in one object"),
        ('{"summary": "a", "summary": "\\u003a"}', "a key occurs twice in one object"),
        ('{"summary": "a", "summary": "b",}', "a key occurs twice in one object"),
        ('{"summary": "a", "note": {"x": 1, "x": 2}}', "a key occurs twice in one object"),
        ('{"a":' * 300 + "1" + "}" * 300, "the answer is nested more than 254 levels deep"),
    ],
)
def test_no_usable_json(text: str, problem: str) -> None:
    assert judge(text) == Verdict(None, "not_json", (problem,))
    assert output_of(text) is None


@pytest.mark.parametrize(
    "value",
    ["NaN", "-NaN", "nan", "Infinity", "-Infinity", "inf", "1e999", "undefined", "...", "[1, NaN]", "[...]", "…"],
)
def test_no_value_is_made_of_what_is_no_value(value: str) -> None:
    verdict = Judge({"type": "object"}, None).judge(ROW, reply(f'{{"summary": "NaN", "score": {value}}}'))
    assert verdict.failure == "not_json"


def test_words_in_strings_are_not_numbers() -> None:
    assert judge('{"summary": "NaN... Infinity",}').output == {"summary": "NaN... Infinity"}


@pytest.mark.parametrize(
    "text", ["null", "[]", '"summary"', "17", "true", '[{"summary": "ok"}]', '[{"summary": "ok"},]']
)
def test_only_an_object_is_an_output(text: str) -> None:
    verdict = judge(text)
    assert (verdict.failure, verdict.problems) == ("schema", ("top level: the answer must be one JSON object",))
    assert output_of(text) is None


@pytest.mark.parametrize(
    ("output", "problems"),
    [
        ({}, ['top level: "summary" is a required property']),
        ({"summary": "ok", "x": 1}, ["top level: Additional properties are not allowed ('x' was unexpected)"]),
        ({"summary": "w" * 70}, ["summary: the value is longer than 60 characters"]),
        ({"summary": None}, ['summary: the value is not of type "string"']),
        ({"summary": "ok", "tags": "login"}, ['tags: the value is not of type "array"']),
        ({"summary": "ok", "tags": ["login", "spam"]}, ['tags[1]: the value is not one of "billing" or "login"']),
        ({"summary": "ok", "tags": ["login", "login"]}, ["tags: the value has non-unique elements"]),
        ({"summary": "ok", "score": "high"}, ['score: the value is not of type "number"']),
        ({"summary": "ok", "due": "2026-02-30"}, ['due: the value is not a "date"']),
        (
            {"summary": "ok", "note": "long"},
            ['note: none of these holds: the value is longer than 3 characters; the value is not of type "null"'],
        ),
        ({"summary": "", "score": True}, ["score: the value is not of type", "summary: the value is shorter than 1"]),
    ],
)
def test_against_the_schema(output: dict[str, Any], problems: list[str]) -> None:
    verdict = judge(orjson.dumps(output).decode())
    assert verdict.failure == "schema"
    assert verdict.output is None
    assert len(verdict.problems) == len(problems)
    assert all(said.startswith(meant) for said, meant in zip(sorted(verdict.problems), sorted(problems), strict=True))


def test_problems_are_few_and_short() -> None:
    schema = {"type": "object", "additionalProperties": {"enum": ["y" * 500]}}
    verdict = judge(orjson.dumps({f"k{n}": "x" for n in range(50)}).decode(), schema)
    assert len(verdict.problems) == 10
    assert all(len(problem) <= 200 for problem in verdict.problems)


@pytest.mark.parametrize("reason", ["length", "max_tokens", "model_length"])
@pytest.mark.parametrize("text", ['{"summary": "ok"}', '{"summary": "o', "", None])
def test_an_answer_that_was_cut_off_is_never_valid(reason: str, text: str | None) -> None:
    assert judge(text, finish_reason=reason).failure == "truncated"


@pytest.mark.parametrize("reason", [None, "stop", "eos", "tool_calls", "error"])
def test_other_finish_reasons_prove_nothing(reason: str | None) -> None:
    assert judge('{"summary": "ok"}', finish_reason=reason).valid
    assert judge('{"summary": "The custo', finish_reason=reason).failure == "not_json"


@pytest.mark.parametrize(
    ("text", "changes", "failure"),
    [
        ('{"summary": "ok"}', {"finish_reason": "content_filter"}, "content_filter"),
        (None, {"finish_reason": "content_filter", "refusal": "No."}, "content_filter"),
        (None, {"refusal": "I can't."}, "refusal"),
        ('{"summary": "ok"}', {"refusal": "I can't."}, "refusal"),
        ('{"summary": "ok"}', {"refusal": " "}, None),
        ("I'm sorry, but I can't assist with that request.", {}, "refusal"),
        ("I’m sorry, but I can’t help with that.", {}, "refusal"),
        ("Sorry, I cannot provide this.", {}, "refusal"),
        ("I cannot help with this ticket.", {}, "refusal"),
        ("As an AI language model, I am not able to generate this.", {}, "refusal"),
        ("I'm unable to comply.", {}, "refusal"),
        ("I'm sorry, but I can't help with {this", {}, "not_json"),
        ("I cannot determine the language.", {}, "not_json"),
        ("I'm sorry to hear that your parcel is late.", {}, "not_json"),
        (None, {}, "empty"),
        ("", {}, "empty"),
        (" \n\t ", {}, "empty"),
        (None, {"tool_calls": True}, "empty"),
        ('{"summary": "ok"}', {"tool_calls": True}, None),
    ],
)
def test_classes(text: str | None, changes: dict[str, Any], failure: str | None) -> None:
    verdict = judge(text, **changes)
    assert verdict.failure == failure
    assert bool(verdict.problems) == (failure is not None)


def test_the_check_has_the_last_word() -> None:
    seen = []

    def check(output: dict[str, Any], columns: dict[str, Any]) -> list[str]:
        seen.append((output, columns))
        return ["the summary is not about the ticket", "x" * 500] if output["summary"] == "bad" else []

    judging = Judge(SCHEMA, check)
    assert judging.judge(ROW, reply('{"summary": "ok"}')) == Verdict({"summary": "ok"})
    assert seen == [({"summary": "ok"}, ROW.columns)]
    bad = judging.judge(ROW, reply('{"summary": "bad",}'))
    assert (bad.output, bad.failure, bad.repaired) == (None, "check", True)
    assert bad.problems == ("the summary is not about the ticket", "x" * 199 + "…")
    assert judging.judge(ROW, reply('{"summary": 4}')).failure == "schema"
    assert len(seen) == 2


def test_a_check_cannot_change_the_output() -> None:
    def check(output: dict[str, Any], columns: dict[str, Any]) -> list[str]:
        output["tags"].append("spam")
        return []

    verdict = Judge(SCHEMA, check).judge(ROW, reply('{"summary": "ok", "tags": ["login"]}'))
    assert verdict == Verdict({"summary": "ok", "tags": ["login"]})


@pytest.mark.parametrize(
    ("check", "problem"),
    [
        (lambda output, columns: output["x"], "check raised KeyError: 'x'"),
        (lambda output, columns: None, "check returned NoneType, not a list of texts"),
        (lambda output, columns: "bad", "check returned str, not a list of texts"),
        (lambda output, columns: [1], "check returned list, not a list of texts"),
        (lambda output: [], "check raised TypeError: "),
    ],
)
def test_a_check_at_fault_is_not_asked_again(check: Callable[..., Any], problem: str) -> None:
    verdict = Judge(SCHEMA, check).judge(ROW, reply('{"summary": "ok"}'))
    assert verdict.failure == "check_error"
    assert verdict.failure in FINAL
    assert verdict.problems[0].startswith(problem)


def test_what_may_be_asked_again() -> None:
    assert {"content_filter", "refusal", "check_error"} == FINAL


def test_a_two_megabyte_answer() -> None:
    text = orjson.dumps({"summary": "é" * 1_000_000}).decode()
    assert judge(text, {"type": "object"}).valid
    assert judge(text).failure == "schema"
    assert judge(text[:-2], {"type": "object"}).failure == "not_json"
    assert judge('{"' + '\\"' * 1_000_000, {"type": "object"}).failure == "not_json"


def test_reask_names_the_problems() -> None:
    answer = reply('{"summary": "ok", "tags": ["spam"]}')
    turns = reask_turns(answer, Judge(SCHEMA, None).judge(ROW, answer))
    assert turns == (
        {"role": "assistant", "content": '{"summary": "ok", "tags": ["spam"]}'},
        {
            "role": "user",
            "content": "Your answer is not valid:\n"
            '- tags[0]: the value is not one of "billing" or "login"\n'
            "Answer again with the corrected JSON object only, no other text.",
        },
    )


@pytest.mark.parametrize(
    ("text", "kept"), [(None, "(no answer)"), (" ", "(no answer)"), ("x" * 5_000, "x" * 4_000 + " […]")]
)
def test_reask_bounds_the_answer(text: str | None, kept: str) -> None:
    assistant, user = reask_turns(reply(text), judge(text))
    assert assistant["content"] == kept
    assert user["role"] == "user"


def test_reask_after_a_cut_asks_for_less() -> None:
    cut_off = reply('{"summary": "The', finish_reason="length")
    turns = reask_turns(cut_off, Judge(SCHEMA, None).judge(ROW, cut_off))
    assert "shorter" in turns[1]["content"]


@pytest.mark.parametrize(
    ("schema", "problem"),
    [
        ([], "must be a JSON object"),
        (True, "must be a JSON object"),
        ({}, 'must have "type": "object"'),
        ({"type": "array"}, 'must have "type": "object"'),
        ({"type": ["object", "null"]}, 'must have "type": "object"'),
        ({"$ref": "#/$defs/A", "$defs": {"A": {"type": "string"}}}, 'must have "type": "object"'),
        ({"$ref": "#"}, 'must have "type": "object"'),
        (
            {"type": "objekt"},
            'no valid JSON Schema: type: none of these holds: "objekt" is not one of "array", "boolean"',
        ),
        ({"type": "object", "properties": {"a": {"pattern": "("}}}, "no valid JSON Schema: properties.a.pattern: "),
        ({"type": "object", "required": "a"}, "no valid JSON Schema: required: "),
        ({"type": "object", "properties": {"a": {"$ref": "#/$defs/none"}}}, "'/$defs/none' does not exist"),
        ({"type": "object", "properties": {"a": {"$ref": "other.json"}}}, '"$ref" leads out of the schema'),
        ({"type": "object", "properties": {"a": {"$ref": "file:///etc/hostname"}}}, '"$ref" leads out of the schema'),
        ({"$schema": "https://example.org/dialect", "type": "object"}, "Unknown meta-schema"),
    ],
)
def test_schemas_that_cannot_judge(schema: Any, problem: str) -> None:
    with pytest.raises(ValueError, match=re.escape(problem)) as caught:
        check_schema(schema)
    assert "\n" not in str(caught.value)


def test_no_reference_is_ever_fetched() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        uri = f"http://127.0.0.1:{server.getsockname()[1]}/schema.json"
        for schema in ({"type": "object", "properties": {"a": {"$ref": uri}}}, {"$schema": uri, "type": "object"}):
            with pytest.raises(ValueError):
                check_schema(schema)
        with pytest.raises(TimeoutError):
            server.accept()


@pytest.mark.parametrize(
    ("schema", "fields"),
    [
        (SCHEMA, ("summary", "tags", "score", "due", "note")),
        ({"type": "object"}, ()),
        ({"$ref": "#/$defs/A", "$defs": {"A": {"type": "object", "properties": {"z": {}, "a": {}}}}}, ("z", "a")),
        ({"$ref": "#/$defs/a~1b", "$defs": {"a/b": {"type": "object", "properties": {"x": {}}}}}, ("x",)),
    ],
)
def test_output_fields(schema: dict[str, Any], fields: tuple[str, ...]) -> None:
    check_schema(schema)
    assert output_fields(schema) == fields


def test_the_dialect_is_the_schemas_own() -> None:
    tuples = {"type": "object", "properties": {"t": {"items": [{"type": "integer"}]}}}
    old = {"$schema": "http://json-schema.org/draft-07/schema#", **tuples}
    assert judge('{"t": ["x"]}', old).failure == "schema"
    with pytest.raises(ValueError):  # 2020-12 has prefixItems for it
        check_schema(tuples)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
OUTPUT = st.fixed_dictionaries(
    {"summary": st.text(min_size=1, max_size=60)},
    optional={
        "tags": st.lists(st.sampled_from(["billing", "login"]), unique=True),
        "score": st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False),
        "note": st.none() | st.text(max_size=3),
    },
)
NEARLY_JSON = st.text(alphabet="{}[]\"'\\:,`ntfauNI019.- \n\x00é", max_size=60)


@given(OUTPUT, st.booleans())
def test_a_valid_output_is_always_valid(output: dict[str, Any], fenced: bool) -> None:
    text = orjson.dumps(output).decode()
    assert judge(f"```json\n{text}\n```" if fenced else text) == Verdict(output)


@given(st.dictionaries(st.sampled_from([*SCHEMA["properties"], "x"]), JSON, max_size=4))
def test_valid_means_valid_by_the_schema(output: dict[str, Any]) -> None:
    verdict = judge(orjson.dumps(output).decode())
    assert verdict.valid == jsonschema_rs.validator_for(SCHEMA, validate_formats=True).is_valid(output)
    assert verdict.valid == (not verdict.problems) == (verdict.output is not None)


@given(st.text() | NEARLY_JSON, st.sampled_from(["stop", "length", None]))
def test_any_text_gets_a_verdict(text: str, finish_reason: str | None) -> None:
    answer = reply(text.encode(errors="replace").decode(), finish_reason=finish_reason)
    verdict = Judge({"type": "object"}, lambda output, columns: []).judge(ROW, answer)
    assert verdict.valid == (not verdict.problems) == (verdict.output is not None)
    assert not verdict.valid or output_of(answer.text) == verdict.output
    if verdict.valid:
        assert orjson.loads(orjson.dumps(verdict.output)) == verdict.output
        assert finish_reason != "length"
    assert reask_turns(answer, verdict) == reask_turns(answer, verdict)


@given(OUTPUT, st.data())
def test_a_cut_answer_is_never_valid(output: dict[str, Any], data: st.DataObject) -> None:
    text = orjson.dumps(output).decode()
    length = data.draw(st.integers(0, len(text) - 1))
    assert not judge(text[:length], {"type": "object"}, finish_reason=None).valid


@given(NEARLY_JSON)
def test_bodies_are_judged_end_to_end(content: str) -> None:
    body = {"choices": [{"message": {"content": content}, "finish_reason": "stop"}]}
    try:
        parsed = parse_reply(orjson.dumps(body).decode())
    except BrokenReply as broken:
        raise AssertionError from broken
    assert parsed.text == content
    Judge(SCHEMA, None).judge(ROW, parsed)
