"""Models of set quality."""

from typing import Any

import orjson
import pytest

from llmbatch.simulator import embeddings
from llmbatch.simulator.asked import Asked, read
from llmbatch.simulator.form import BadRequest
from llmbatch.simulator.models import Playing, mistaken, playing
from llmbatch.simulator.scenario import Judging, Model, Scenario, Server

SCHEMA = {
    "type": "object",
    "properties": {"kind": {"enum": ["a", "b"]}, "tags": {"type": "array", "items": {"enum": ["x", "y"]}}},
}


def asked(model: str, n: int) -> Asked:
    form = {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA}}
    body = {"model": model, "messages": [{"role": "user", "content": f"row {n}"}], "response_format": form}
    return read(orjson.dumps(body))


def test_a_model_is_wrong_and_invalid_as_often_as_it_is_told() -> None:
    models = {"small": Model(error_rate=0.2, invalid_rate=0.1), "large": Model(error_rate=0.02)}
    brain = playing(Scenario(seed=5, server=Server(brain="echo"), model=models))
    counts = {}
    for name in ("small", "large", "other"):
        answers = [brain.answer(asked(name, n)) for n in range(2_000)]
        assert answers == [brain.answer(asked(name, n)) for n in range(2_000)]  # whatever was asked before
        counts[name] = (answers.count({}), sum(answer.get("kind") == "b" for answer in answers))
    invalid, wrong = counts["small"]
    assert 160 < invalid < 240
    assert 300 < wrong < 420
    assert counts["large"][0] == 0
    assert 20 < counts["large"][1] < 65
    assert counts["other"] == (0, 0)


def test_a_mistake_is_another_value_that_the_schema_allows() -> None:
    right = {"kind": "a", "tags": ["x"], "n": 1, "yes": True, "text": "t", "free": ["z"]}
    schema = {"properties": {**SCHEMA["properties"], "free": {"items": {"type": "string"}}}}  # type: ignore[dict-item]
    wrong = mistaken(right, schema)
    assert wrong == {"kind": "b", "tags": ["y"], "n": 2, "yes": False, "text": "not t", "free": ["not z"]}


def test_a_judge_errs_as_often_as_it_is_told() -> None:
    told = Judging(right="is right", second="second one", sensitivity=0.9, specificity=0.7, prefers_first=0.2)
    brain = playing(Scenario(seed=3, server=Server(brain="echo"), model={"judge": Model(judge=told)}))
    form = {"verdict": {"enum": ["wrong", "right"]}, "better": {"enum": ["first", "second", "tie"]}}
    schema = {"type": "object", "properties": {**form, "score": {"type": "integer"}, "reason": {"type": "string"}}}

    def said(words: str, n: int) -> dict[str, Any]:
        wanted = {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}
        body = {"model": "judge", "messages": [{"role": "user", "content": f"{n} {words}"}], "response_format": wanted}
        return brain.answer(read(orjson.dumps(body)))

    right = [said("is right", n) for n in range(2_000)]
    wrong = [said("is not", n) for n in range(2_000)]
    assert 0.88 < sum(one["verdict"] == "right" for one in right) / 2_000 < 0.92
    assert 0.67 < sum(one["verdict"] == "wrong" for one in wrong) / 2_000 < 0.73
    assert {(one["verdict"], one["score"]) for one in right} == {("right", 5), ("wrong", 1)}
    assert right == [said("is right", n) for n in range(2_000)]
    second = [said("second one", n)["better"] for n in range(2_000)]
    assert 0.2 < second.count("first") / 2_000 < 0.3  # a fifth by its liking, and a few by mistake
    assert second.count("second") > 1_000


def test_embeddings_are_never_played_wrong() -> None:
    brain = playing(Scenario(server=Server(brain="echo"), model={"m": Model(error_rate=1.0, invalid_rate=1.0)}))
    assert isinstance(brain, Playing)
    assert brain.played(embeddings.read(b'{"model": "m", "input": "a"}')) is None
    assert brain.played(asked("m", 1)) == "invalid"


def test_embeddings_of_the_same_words_are_near() -> None:
    def embedded(text: str) -> list[float]:
        return embeddings.vector(text)

    one, same, other = map(embedded, ("a lost parcel", "parcel lost, a", "an unpaid invoice"))
    assert one == embedded("a lost parcel")
    assert sum(a * b for a, b in zip(one, same, strict=True)) > 0.99
    assert sum(a * b for a, b in zip(one, other, strict=True)) < 0.7
    for body in (b"{}", b"x", b'{"model": "m", "input": ""}', b'{"model": "m", "input": []}'):
        with pytest.raises(BadRequest):
            embeddings.read(body)
