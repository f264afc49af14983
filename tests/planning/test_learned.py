"""What a plan makes of history, and of none."""

from dataclasses import replace
from typing import Any

import pytest

from llmbatch.extract import count_tokens
from llmbatch.ledger.past import Past, Sample, Use
from llmbatch.planning import Amount, Learned, Sizes, costs, learn
from llmbatch.planning.shape import answer_tokens
from llmbatch.planning.sizes import rule
from llmbatch.planning.time import time_of
from llmbatch.settings import LimitSettings
from llmbatch.types import Request

SCHEMA = {"type": "object", "properties": {"summary": {"type": "string", "maxLength": 400}}}
USE = Use(
    nearness=0, runs=2, asked=100, answers=110, first_answers=98, input=66_000, first_input=58_800,
    cached=6_600, cache_write=0, output=5_500, reasoning=1_100, output_deviation=10.0, probes=0,
)  # fmt: skip


def request(text: str, n: int = 0) -> Request:
    return Request(f"{n * 7919 % 65536:04x}" + "0" * 60, n, "m", ({"role": "user", "content": text},), {}, {})


def sized(*texts: str) -> Sizes:
    sizes = Sizes()
    for n, text in enumerate(texts):
        sizes.add(request(text, n))
    return sizes


def learned(past: Past = Past(), **more: Any) -> Learned:  # noqa: B008 - frozen
    return learn(past, **{"system": "You sum up.", "schema": SCHEMA, "most_output": 1_000, **more})


def test_without_history_the_range_is_wide_and_ends_at_the_bound() -> None:
    guess = learned()
    assert guess.basis == "rule of thumb"
    assert guess.output.low < guess.output.likely < guess.output.high == 1_000
    assert guess.frame.low < guess.frame.likely < guess.frame.high  # the schema may be billed or not
    assert learned(most_output=None).output.high < 1_000
    assert learned(most_output=20).output.likely == 20


def test_history_brings_calls_tokens_and_shares() -> None:
    found = learned(Past(uses=(USE,)))
    assert found.basis == "history of 2 runs, 110 answers"
    assert found.calls.likely == 1.1
    assert found.output.likely == 55
    assert found.cached_share == 0.1
    assert found.reasoning_share == 0.2
    assert found.output.high <= 55 * 1.1001
    assert learned(Past(uses=(replace(USE, output_deviation=500.0),))).output.high > 100  # answers vary
    assert learned(Past(uses=(USE,)), error=0.4).output.high == pytest.approx(55 * 1.4)  # earlier plans were off
    assert learned(Past(uses=(replace(USE, first_answers=4),))).basis == "rule of thumb"
    assert learned(Past(uses=(replace(USE, nearness=2),))).basis == "rule of thumb"
    assert learned(Past(uses=(replace(USE, nearness=1),))).basis.endswith("under another prompt")
    assert learned(Past(uses=(replace(USE, probes=2),))).basis == "a probe of 100 rows"


def test_input_is_corrected_by_what_the_server_counted() -> None:
    """A server that counts half as many tokens again as the rule, for messages and schema alike."""
    sample = Sample("some words of a ticket that is neither short nor long", "You sum up.", '{"a": 1}', 0)
    whole = count_tokens(sample.user_message) + count_tokens("You sum up.") + count_tokens('{"a": 1}') + 8
    samples = tuple(replace(sample, input_tokens=round(whole * 1.5)) for _ in range(20))
    found = learned(Past(samples=samples))
    assert found.per_rule.likely == pytest.approx(1.5, rel=0.05)
    assert found.basis == "input by 20 requests to this model, the rest by rule of thumb"


def test_a_long_text_is_read_in_two_pieces_and_comes_near() -> None:
    text = "The invoice of month 7 is wrong; please mend it soon. " * 2_000
    assert rule(text) == pytest.approx(count_tokens(text), rel=0.05)
    assert rule("") == 0
    mixed = sized(*("word " * n for n in range(1, 300)))
    assert mixed.tokens_per_byte * mixed.bytes == pytest.approx(sum(range(1, 300)), rel=0.1)


@pytest.mark.parametrize(
    ("schema", "least", "most"),
    [
        ({"properties": {"tags": {"type": "array", "items": {"enum": ["billing", "bug"]}, "maxItems": 3}}}, 5, 20),
        (SCHEMA, 40, 70),
        ({"properties": {"a": {"type": "boolean"}, "b": {"type": ["integer", "null"]}, "c": {"const": "x"}}}, 5, 15),
        ({"$ref": "#/$defs/t", "$defs": {"t": {"properties": {"t": {"$ref": "#/$defs/t"}}}}}, 2, 200),  # for ever
        ({"properties": {"a": {"anyOf": [{"type": "string", "maxLength": 40}, {"type": "null"}]}}}, 4, 15),
        ({}, 2, 60),
    ],
)
def test_a_usual_answer(schema: dict[str, Any], least: float, most: float) -> None:
    assert least <= answer_tokens(schema) <= most


def test_dollars_know_of_long_context_steps() -> None:
    """Most requests are short, and the long one pays twice for all its tokens."""
    sizes = sized(*["word " * 10] * 50, "word " * 50_000)
    ones = Amount(1.0, 1.0, 1.0)
    flat = Learned(ones, ones * 0, ones, ones * 0, 0.0, 0.0, 0.0, "")

    def price_of(fresh: float, *_: float) -> float:
        return fresh * (2 if fresh > 10_000 else 1)

    found = costs(sizes, flat, price_of)
    assert found.cost_usd is not None
    assert found.cost_usd.likely == pytest.approx(50 * 10 + 2 * 50_000, rel=0.02)
    half = costs(sizes, flat, price_of, rows=25)
    assert half.cost_usd is not None
    assert half.cost_usd.likely == pytest.approx(found.cost_usd.likely * 25 / 51)
    assert costs(sizes, flat, lambda *_: None).cost_usd is None
    assert costs(Sizes(), flat, price_of).calls == Amount(0, 0, 0)


def report(sent: int, wall_s: float, **learnt: float) -> dict[str, Any]:
    changes = [{"what": what, "value": value} for what, value in learnt.items()]
    return {"attempts": {"sent": sent}, "wall_s": wall_s, "limits": {"changes": changes}}


def test_time_is_what_the_tightest_limit_makes_of_it() -> None:
    limits = LimitSettings(requests_per_minute=600, tokens_per_minute=100_000, share=0.5)
    assert time_of(1_000, 10_000, limits, []) == time_of(1_000, 10_000, limits, [report(5, 100)])
    found = time_of(1_000, 10_000, limits, [])
    assert (found.seconds, found.limited_by) == (200, "requests_per_minute")
    assert time_of(1_000, 1_000_000, limits, []).limited_by == "tokens_per_minute"
    slow = time_of(1_000, 10_000, limits, [report(100, 100), report(300, 100)])
    assert (slow.seconds, slow.limited_by) == (500, "history")
    told = time_of(1_000, 0, LimitSettings(), [report(1_000, 1, requests_per_minute=60)])
    assert told.seconds == pytest.approx(1_000)
    assert told.limited_by == "requests_per_minute"
    assert time_of(1_000, 0, LimitSettings(), []).seconds is None
    assert time_of(0, 0, LimitSettings(), []).seconds == 0
