"""Where a row stands on a ladder, on stored replies alone."""

from dataclasses import replace
from decimal import Decimal

import pytest

from llmbatch.engines.ladder import Rules, Standing, standing
from llmbatch.ledger import Known, Rejection
from llmbatch.reply import parse_reply
from llmbatch.types import Json, Reply, Request, Row
from llmbatch.validate import Judge
from tests.ledger.conftest import body

SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
ROW = Row(0, {"text": "t"}, "in.jsonl", 1)
REQUESTS = tuple(Request(f"{n:064x}", 0, f"m{n}", ({"role": "user", "content": "t"},), {}, SCHEMA) for n in range(3))
REFUSED = "I'm sorry, but I can't help with that."


def low(output: dict[str, Json], _: dict[str, Json]) -> str | None:
    return "it is below 5" if output["a"] < 5 else None


def raises(output: dict[str, Json], _: dict[str, Json]) -> list[str]:
    raise ZeroDivisionError


def at(*texts: list[str], rungs: int = 2, judge: Judge | None = None, again: bool = False) -> Standing:
    """Where the row stands when each model gave such answers; two attempts a model."""
    stored = {
        r.key: Known([answer(n, i) for i, n in enumerate(given)]) for r, given in zip(REQUESTS, texts, strict=False)
    }
    rules = Rules(judge or Judge(SCHEMA, None, low), 2, frozenset() if again else None)
    return standing(ROW, REQUESTS[:rungs], stored, rules)


def answer(text: str, at: int) -> Reply:
    return replace(parse_reply(body(text)), number=at + 1, seq=at + 1, cost_usd=Decimal("0.5"))


@pytest.mark.parametrize(
    ("texts", "model", "asks", "failure", "left"),
    [
        ([[]], "m0", True, None, []),
        ([['{"a": 7}']], "m0", False, None, [("m0", None)]),
        ([["no JSON"]], "m0", True, None, []),  # asked again, with its problems
        ([["no JSON", "no JSON"]], "m1", True, None, [("m0", "not_json")]),
        ([[REFUSED]], "m1", True, None, [("m0", "refusal")]),
        ([['{"a": 1}']], "m1", True, None, [("m0", "floor")]),
        ([['{"a": 1}'], ['{"a": 2}']], "m1", False, None, [("m0", "floor"), ("m1", None)]),  # the last one has no floor
        ([['{"a": 1}'], ["x", "x"]], "m0", False, None, [("m0", "floor"), ("m1", "not_json")]),  # the valid one serves
        ([["x", "x"], [REFUSED]], "m1", False, "refusal", [("m0", "not_json"), ("m1", "refusal")]),
        ([["x", '{"a": 7}']], "m0", False, None, [("m0", None)]),
    ],
)  # fmt: skip
def test_where_a_row_stands(
    texts: list[list[str]], model: str, asks: bool, failure: str | None, left: list[tuple[str, str | None]]
) -> None:
    found = at(*texts)
    assert (found.request.model, found.ask is not None, found.failure) == (model, asks, failure)
    assert [(rung.model, rung.failure) for rung in found.rungs] == left
    assert [rung.cost_usd for rung in found.rungs] == [len(texts[n]) * Decimal("0.5") for n in range(len(left))]


def test_three_models_and_one_alone() -> None:
    found = at(['{"a": 1}'], ["x", "x"], [], rungs=3)
    assert (found.request.model, found.ask) == ("m2", REQUESTS[2])
    alone = at(['{"a": 1}'], rungs=1)  # nothing to climb to: no floor, and nothing to tell
    assert (alone.ask, alone.failure, alone.rungs) == (None, None, ())


def test_what_no_other_model_would_mend_ends_the_climb() -> None:
    found = at(['{"a": 7}'], judge=Judge(SCHEMA, raises, low))
    assert (found.request.model, found.ask, found.failure) == ("m0", None, "check_error")
    for failure, asks in (("context_length", True), ("rejected", False)):
        past = Known(rejection=Rejection(-1, failure, "no"))
        here = standing(ROW, REQUESTS[:2], {REQUESTS[0].key: past}, Rules(Judge(SCHEMA, None, low), 2))
        assert (here.request.model, here.ask is not None) == (("m1", True) if asks else ("m0", False))


def test_a_failed_row_is_asked_again_where_it_failed_and_a_served_one_is_not() -> None:
    assert at(["x", "x"], ["x", "x"], again=True).ask == REQUESTS[1]
    assert at(['{"a": 1}'], ["x", "x"], again=True).ask is None
