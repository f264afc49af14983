"""Models of set quality."""

import orjson

from llmbatch.simulator.asked import Asked, read
from llmbatch.simulator.models import mistaken, playing
from llmbatch.simulator.scenario import Model, Scenario, Server

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
