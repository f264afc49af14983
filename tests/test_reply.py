from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbatch.reply import BrokenReply, parse_reply, text_of
from llmbatch.types import Reply, Usage

GOOD_USAGE = {"prompt_tokens": 20, "completion_tokens": 5, "total_tokens": 25}


def completion(**changes: Any) -> dict[str, Any]:
    message = {"role": "assistant", "content": '{"a":1}', "refusal": None}
    body = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "model": "gpt-5-mini-2026-01-01",
        "service_tier": "default",
        "system_fingerprint": "fp_1",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": GOOD_USAGE,
    }
    return body | changes


def with_message(**message: Any) -> dict[str, Any]:
    return completion(choices=[{"index": 0, "message": message, "finish_reason": "stop"}])


def parse(body: Any) -> Reply:
    return parse_reply(orjson.dumps(body).decode())


def test_a_whole_answer() -> None:
    raw = orjson.dumps(completion()).decode()
    assert parse_reply(raw) == Reply(
        raw=raw,
        text='{"a":1}',
        finish_reason="stop",
        refusal=None,
        usage=Usage(input=20, output=5),
        model="gpt-5-mini-2026-01-01",
        tier="default",
        fingerprint="fp_1",
        tool_calls=False,
    )


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ("", "the answer is empty"),
        ("  \n", "the answer is empty"),
        ('{"choices": [{"mess', "the answer is not JSON"),
        ("<html><body>502 Bad Gateway</body></html>", "the answer is not JSON"),
        ("[" * 100_000, "the answer is not JSON"),
        ('{"choices": NaN}', "the answer is not JSON"),
        ("null", "the answer is null"),
        ("[]", "the answer is no JSON object"),
        ('"text"', "the answer is no JSON object"),
        ("17", "the answer is no JSON object"),
        ("{}", "no choices in the answer"),
        ('{"choices": null}', "no choices in the answer"),
        ('{"choices": []}', "no choices in the answer"),
        ('{"choices": {"0": {}}}', "no choices in the answer"),
        ('{"choices": [null]}', "no choices in the answer"),
        ('{"choices": [{}]}', "no message in the answer"),
        ('{"choices": [{"message": null}]}', "no message in the answer"),
        ('{"choices": [{"message": "hello"}]}', "no message in the answer"),
        ('{"error": "boom"}', "the answer carries an error"),
        ('{"error": {"message": "row text", "code": 502}}', "the answer carries an error (502)"),
        ('{"error": {"type": "server_error", "code": null}}', "the answer carries an error (server_error)"),
        ('{"error": {"type": "overloaded", "code": "overloaded"}}', "the answer carries an error (overloaded)"),
        ('{"error": {"type": "a whole sentence about a row"}}', "the answer carries an error"),
        ('{"error": {"type": {"a": 1}, "code": ["b"]}}', "the answer carries an error"),
        ('{"error": {"code": 1}, "choices": [{"message": {"content": "x"}}]}', "the answer carries an error (1)"),
    ],
)
def test_what_is_no_answer(raw: str, message: str) -> None:
    with pytest.raises(BrokenReply) as caught:
        parse_reply(raw)
    assert str(caught.value) == message


def test_an_embedding_is_read_as_an_answer_that_costs_input_only() -> None:
    data = [{"object": "embedding", "index": 0, "embedding": "AACAPw=="}]
    usage = {"prompt_tokens": 8, "total_tokens": 8}
    body = {"object": "list", "data": data, "model": "embed-1", "usage": usage, "system_fingerprint": "fp_1"}
    reply = parse(body)
    assert reply.text == '{"embedding":"AACAPw=="}'
    assert (reply.usage, reply.model, reply.fingerprint) == (Usage(input=8, output=0), "embed-1", "fp_1")
    assert text_of(orjson.dumps(body).decode()) == reply.text
    none: tuple[Any, ...] = ([], None, [{}], [{"embedding": []}])
    for broken in none:
        with pytest.raises(BrokenReply, match="no embedding"):
            parse({"object": "list", "data": broken})


def test_an_error_that_is_null_is_none() -> None:
    assert parse(completion(error=None)).text == '{"a":1}'


@pytest.mark.parametrize(
    ("message", "text", "refusal"),
    [
        ({"content": "hi"}, "hi", None),
        ({"content": ""}, "", None),
        ({"content": None}, None, None),
        ({}, None, None),
        ({"content": 7}, None, None),
        ({"content": {"a": 1}}, None, None),
        ({"content": []}, None, None),
        ({"content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}, "ab", None),
        ({"content": [{"type": "thinking", "text": "hm"}, {"type": "text", "text": "b"}]}, "b", None),
        ({"content": ["a", None, {"type": "text", "text": 4}, {"type": "text"}]}, None, None),
        ({"content": [{"type": "refusal", "refusal": "I can't."}]}, None, "I can't."),
        ({"content": None, "refusal": "No."}, None, "No."),
        ({"content": "hi", "refusal": ""}, "hi", None),
        ({"content": "hi", "refusal": 3}, "hi", None),
    ],
)
def test_content_and_refusal(message: dict[str, Any], text: str | None, refusal: str | None) -> None:
    reply = parse(with_message(**message))
    assert (reply.text, reply.refusal) == (text, refusal)


@pytest.mark.parametrize(
    ("message", "tool_calls"),
    [
        ({"tool_calls": [{"id": "1"}]}, True),
        ({"function_call": {"name": "f"}}, True),
        ({"tool_calls": []}, False),
        ({"tool_calls": None}, False),
    ],
)
def test_tool_calls(message: dict[str, Any], tool_calls: bool) -> None:
    assert parse(with_message(**message)).tool_calls is tool_calls


@pytest.mark.parametrize("name", ["model", "service_tier", "system_fingerprint"])
@pytest.mark.parametrize("value", [None, 4, {}, ["x"]])
def test_names_that_are_no_text_are_unknown(name: str, value: Any) -> None:
    reply = parse(completion(**{name: value}))
    assert {"model": reply.model, "service_tier": reply.tier, "system_fingerprint": reply.fingerprint}[name] is None


@pytest.mark.parametrize("reason", [None, 7, ["stop"]])
def test_a_finish_reason_that_is_no_text_is_unknown(reason: Any) -> None:
    assert parse(completion(choices=[{"message": {"content": "x"}, "finish_reason": reason}])).finish_reason is None


@pytest.mark.parametrize(
    "usage",
    [
        None,
        {},
        [],
        "25",
        {"prompt_tokens": 20},
        {"completion_tokens": 5},
        GOOD_USAGE | {"prompt_tokens": None},
        GOOD_USAGE | {"prompt_tokens": -5},
        GOOD_USAGE | {"prompt_tokens": 10**9 + 1},
        GOOD_USAGE | {"prompt_tokens": 20.0},
        GOOD_USAGE | {"prompt_tokens": True},
        GOOD_USAGE | {"prompt_tokens": "20"},
        GOOD_USAGE | {"prompt_tokens": 0},
        GOOD_USAGE | {"completion_tokens": -1},
        GOOD_USAGE | {"completion_tokens": 10**18},
        GOOD_USAGE | {"completion_tokens": 0},
    ],
)
def test_absurd_usage_is_unknown(usage: Any) -> None:
    assert parse(completion(usage=usage)).usage is None


def test_an_empty_answer_may_have_no_output_tokens() -> None:
    reply = parse(with_message(content="") | {"usage": {"prompt_tokens": 9, "completion_tokens": 0}})
    assert reply.usage == Usage(input=9, output=0)


@pytest.mark.parametrize(
    ("details", "parts"),
    [
        ({"cached_tokens": 8, "cache_write_tokens": 4}, (8, 4)),
        ({"cached_tokens": 500, "cache_write_tokens": 4}, (20, 0)),
        ({"cached_tokens": -1, "cache_write_tokens": 100}, (0, 20)),
        ({"cached_tokens": True, "cache_write_tokens": "4"}, (0, 0)),
        ({"cached_tokens": 10**12, "cache_write_tokens": None}, (0, 0)),
        (None, (0, 0)),
        ("all", (0, 0)),
    ],
)
def test_details_stay_inside_their_whole(details: Any, parts: tuple[int, int]) -> None:
    usage = parse(completion(usage=GOOD_USAGE | {"prompt_tokens_details": details})).usage
    assert usage is not None
    assert (usage.cached, usage.cache_write) == parts


@pytest.mark.parametrize(("reasoning", "read"), [(3, 3), (5, 5), (6, 5), (-1, 0), (None, 0), (2.5, 0)])
def test_reasoning_is_part_of_the_output(reasoning: Any, read: int) -> None:
    usage = parse(completion(usage=GOOD_USAGE | {"completion_tokens_details": {"reasoning_tokens": reasoning}})).usage
    assert usage is not None
    assert usage.reasoning == read


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (r"\ud83d x", "\ufffd x"),
        (r"x \uDE00", "x \ufffd"),
        (r"\ud83d\ude00 \ud83d", "😀 \ufffd"),
        (r"\\ud83d \ud83d", "\\ud83d \ufffd"),
        (r"\ud83d\ud83d\ude00", "\ufffd😀"),
        ("\ud83d x", "\ufffd x"),
        (r"a\u0000b", "a\x00b"),
    ],
)
def test_half_surrogate_pairs_and_nul(content: str, text: str) -> None:
    raw = orjson.dumps(with_message(content="HERE")).decode().replace("HERE", content)
    reply = parse_reply(raw)
    assert reply.text == text
    reply.raw.encode()  # what is stored is UTF-8


def test_a_ten_megabyte_answer() -> None:
    reply = parse(with_message(content="é" * 5_000_000))
    assert reply.text is not None
    assert len(reply.text) == 5_000_000


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
ODD_MESSAGE = st.fixed_dictionaries({}, optional={"content": JSON, "refusal": JSON, "tool_calls": JSON})
ODD_CHOICE = st.fixed_dictionaries({"message": JSON | ODD_MESSAGE}, optional={"finish_reason": JSON})
ODD_TOKENS = st.integers(-5, 2 * 10**9) | JSON
ODD_USAGE = st.fixed_dictionaries(
    {"prompt_tokens": ODD_TOKENS, "completion_tokens": ODD_TOKENS},
    optional={
        "prompt_tokens_details": JSON
        | st.fixed_dictionaries({"cached_tokens": ODD_TOKENS, "cache_write_tokens": ODD_TOKENS}),
        "completion_tokens_details": JSON | st.fixed_dictionaries({"reasoning_tokens": ODD_TOKENS}),
    },
)
ODD_BODY = st.fixed_dictionaries(
    {"choices": JSON | st.lists(JSON | ODD_CHOICE, max_size=2)},
    optional={"usage": JSON | ODD_USAGE, "model": JSON, "error": JSON, "service_tier": JSON},
)


@given(st.text() | ODD_BODY.map(lambda body: orjson.dumps(body).decode()))
def test_any_text_is_a_reply_or_broken(raw: str) -> None:
    try:
        reply = parse_reply(raw)
    except BrokenReply:
        return
    if usage := reply.usage:
        assert 0 < usage.input <= 10**9
        assert 0 <= usage.output <= 10**9
        assert 0 <= usage.cached + usage.cache_write <= usage.input
        assert 0 <= usage.reasoning <= usage.output
