"""A run's profile: what is counted, of which replies and rows; that profiles add up; that memory does not grow."""

from decimal import Decimal
from typing import Any

import pytest
from pydantic import TypeAdapter

from llmbatch.grade import Gathered, Profile, Rates, closed_lists, graders, place
from llmbatch.grade.profile import Mix, Rate, median, pooled
from llmbatch.settings import GraderSettings, QualitySettings
from llmbatch.types import Reply, Usage, Verdict

SCHEMA = {
    "properties": {
        "tags": {"type": "array", "items": {"enum": ["a", "b", 3]}},
        "ok": {"type": "boolean"},
        "why": {"type": "string"},
    }
}
SETTINGS = QualitySettings(graders={"tags": GraderSettings(kind="set", field="tags", gold="gold", floor=0.9)})
ALL = Rates(1.0, 1.0, 1.0)


def gathered() -> Gathered:
    return Gathered(graders(SETTINGS.graders, None), SETTINGS, closed_lists(SCHEMA))


def reply(text: str = "{}", number: int = 1, **more: Any) -> Reply:
    return Reply("{}", text, "stop", None, Usage(1_000, 50), "m-1", "default", "fp_1", number=number, **more)


def invalid(failure: str) -> Verdict:
    return Verdict(None, failure, ("wrong",))


def test_closed_lists_of_a_schema() -> None:
    assert closed_lists(SCHEMA) == {"tags": {"a", "b", "3"}, "ok": {"true", "false"}}
    assert closed_lists({"$ref": "#/$defs/X"}) == {}


def test_rates_are_of_first_replies() -> None:
    run = gathered()
    run.judged(reply(), Verdict({"tags": ["a"]}, repaired=True))
    for failure in ("schema", "not_json", "refusal", "content_filter", "truncated", "empty", "check"):
        run.judged(reply('{"tags": ["a"]}'), invalid(failure))
    run.judged(reply('{"tags": ["a", "zzz"]}'), invalid("schema"))
    run.judged(reply('{"tags": ["zzz"]}', number=2), invalid("schema"))  # a re-ask says nothing of the first answer
    rates = run.profile().rates
    assert {name: rate.count for name, rate in rates.items()} == {
        "invalid": 8,
        "bad_format": 3,
        "failed_check": 1,
        "refusal": 2,
        "truncated": 1,
        "empty": 1,
        "off_list": 1,
        "repaired": 1,
        "failed": 0,
    }
    assert {rate.of for name, rate in rates.items() if name != "failed"} == {9}
    assert run.profile().mixes["model"] == Mix(10, {"m-1": 10})
    assert median(run.profile().spreads["input_tokens"]) == pytest.approx(1_000, rel=0.03)


def test_reused_rows_are_graded_and_not_profiled() -> None:
    run = gathered()
    row = {"text": "the bill is wrong", "gold": ["a"]}
    run.take(row, {"tags": ["a"], "ok": True, "why": "xx"}, 0.5, asked=True, rates=ALL)
    run.take(row, {"tags": ["b"], "ok": True}, 0.5, asked=False, rates=ALL)
    run.take(row, None, 0.5, asked=True, rates=ALL)
    run.take({"text": "", "gold": None}, None, 0.5, asked=True, rates=ALL)
    run.priced(Decimal("0.001"))
    profile, (graded,) = run.profile(), run.graded()
    assert profile.rows == 3
    assert profile.rates["failed"] == Rate(2, 3)
    assert profile.scores["tags"] == {1.0: 1, 0.0: 1}
    assert profile.mixes["tags"] == Mix(1, {"a": 1})
    assert profile.mixes["language"].counts == {"en": 3}
    assert (graded.rows, graded.failed, graded.ungraded, graded.passed) == (3, 1, 1, 1)
    assert graded.mean == pytest.approx(1 / 3)
    assert median(profile.spreads["micro_usd"]) == pytest.approx(1_000, rel=0.03)


def test_a_floor_is_missed_with_confidence_only() -> None:
    run = gathered()
    for n in range(200):
        run.take({"gold": ["a"]}, {"tags": ["a" if n % 4 else "b"]}, 0.5, asked=False, rates=ALL)
    assert run.graded()[0].below_floor


def test_of_many_rows_a_part_is_looked_at_the_same_every_night() -> None:
    rates = Rates.of(total=100_000, fresh=10_000, most=5_000)
    assert rates == Rates(fresh=0.5, whole=0.05, language=0.05)
    runs = [gathered(), gathered()]
    for run in runs:
        for n in range(2_000):
            run.take(
                {"gold": ["a"]}, {"tags": ["a"]}, place(f"{n * 2654435761 % 2**32:08x}", n), asked=True, rates=rates
            )
    (one,), (two,) = (run.graded() for run in runs)
    assert one == two
    assert 60 < one.rows < 140
    assert 800 < sum(runs[0].profile().scores["tags"].values()) < 1_200
    assert runs[0].profile().rows == 2_000


def test_different_values_are_bounded() -> None:
    run = gathered()
    for n in range(1_000):
        run.judged(Reply("{}", "", None, None, None, f"model-{n}", None), invalid("empty"))
    assert len(run.profile().mixes["model"].counts) == 201


def test_profiles_add_up_and_survive_json() -> None:
    run = gathered()
    for n in range(10):
        run.judged(reply(latency_s=0.1 * n), Verdict({"tags": ["a"]}))
        run.take({"text": "x", "gold": ["a", "b"]}, {"tags": ["a"]}, 0.5, asked=True, rates=ALL)
    profile = run.profile()
    adapter = TypeAdapter(Profile)
    assert adapter.validate_python(adapter.dump_python(profile, mode="json")) == profile
    twice = pooled([profile, profile])
    assert twice.rows == 20
    assert twice.rates["invalid"] == Rate(0, 20)
    assert sum(twice.spreads["latency_ms"].values()) == 20
    assert twice.scores["tags"] == {0.667: 20}
    assert profile.rows == 10
