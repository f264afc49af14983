"""What each grader says, by examples worked out by hand; rows that failed; rows without gold."""

import pytest

from llmbatch.errors import PipelineError
from llmbatch.grade import graders
from llmbatch.grade.text import longest_common
from llmbatch.settings import GraderSettings
from llmbatch.types import Json


def grader(kind: str, **told: Json):  # type: ignore[no-untyped-def]  # its type is the protocol's
    return graders({"g": GraderSettings(kind=kind, **told)}, told.get("hook"))["g"]  # type: ignore[arg-type]


def test_exact() -> None:
    exact = grader("exact", field="mood", gold="gold_mood")
    assert exact.grade({"mood": "calm"}, {"gold_mood": " calm "}).value == 1
    assert exact.grade({"mood": "Calm"}, {"gold_mood": "calm"}).value == 0
    assert exact.grade({"mood": 3.0}, {"gold_mood": 3}).value == 1
    assert exact.grade({"mood": "3"}, {"gold_mood": "03"}).value == 0
    assert exact.grade({"mood": "x"}, {"gold_mood": None}) is None
    assert exact.grade({"mood": "x"}, {}) is None
    failed = exact.grade(None, {"gold_mood": "calm"})
    assert (failed.value, failed.expected, failed.given) == (0, {"calm"}, frozenset())
    lax = grader("exact", field="mood", gold="g", ignore_case=True)
    assert lax.grade({"mood": "STRASSE"}, {"g": "straße"}).value == 1


def test_set() -> None:
    tags = grader("set", field="tags", gold="gold")
    score = tags.grade({"tags": ["a", "b", "c"]}, {"gold": ["b", "a"]})
    assert score.value == pytest.approx(0.8)
    assert score.details == {"exact": 0, "precision": pytest.approx(2 / 3), "recall": 1}
    assert tags.grade({"tags": ["b", "a"]}, {"gold": ["a", "b"]}).details["exact"] == 1
    assert tags.grade({"tags": []}, {"gold": []}).value == 1
    assert tags.grade(None, {"gold": []}).value == 0  # a failed row is wrong even where nothing was to be said
    assert tags.grade(None, {"gold": ["a"]}).value == 0
    assert tags.grade({"tags": ["a"]}, {"gold": None}) is None


def test_length_and_compression() -> None:
    length = grader("length", field="s", least=10, most=20)
    assert [length.grade({"s": "x" * n}, {}).value for n in (5, 10, 20, 40)] == [0.5, 1, 1, 0.5]
    assert length.grade(None, {}).value == 0
    assert grader("length", field="s", most=2, unit="words").grade({"s": ["one two", "three 四"]}, {}).value == 0.5
    squeeze = grader("compression", field="s", source=["t", "u"], most=0.5)
    assert squeeze.grade({"s": "x" * 4}, {"t": "x" * 5, "u": "yy"}).details["ratio"] == 0.5
    assert squeeze.grade({"s": "x" * 8}, {"t": "x" * 7}).value == pytest.approx(0.5 / (8 / 7))
    assert squeeze.grade({"s": "x"}, {"t": None}) is None


def test_patterns() -> None:
    both = grader("pattern", field="s", must=["^[A-Z]", r"\.$"], must_not=["(?i)as an ai"])
    assert both.grade({"s": "Fine."}, {}).value == 1
    assert both.grade({"s": "fine."}, {}).value == 0
    assert both.grade({"s": "As an AI, fine."}, {}).value == 0
    assert both.grade(None, {}).value == 0


def test_rouge_l_as_in_lin_2004() -> None:
    """Section 3.1's example: candidates 2 and 3 share the words of the reference, only the first in its order."""
    rouge = grader("rouge", field="s", gold="ref")
    reference = {"ref": "police killed the gunman"}
    assert rouge.grade({"s": "police kill the gunman"}, reference).value == pytest.approx(0.75)
    assert rouge.grade({"s": "the gunman kill police"}, reference).value == pytest.approx(0.5)
    assert rouge.grade({"s": "the gunman police killed"}, reference).value == pytest.approx(0.5)
    assert rouge.grade({"s": ""}, reference).value == 0
    assert rouge.grade(None, reference).value == 0


def test_longest_common_subsequence_is_that_of_the_table() -> None:
    import random

    rng = random.Random(2)
    for _ in range(60):
        one, two = ([rng.choice("abcd") for _ in range(rng.randint(0, 90))] for _ in range(2))
        rows = [0] * (len(two) + 1)
        for word in one:
            before = 0
            for j, other in enumerate(two):
                before, rows[j + 1] = rows[j + 1], before + 1 if word == other else max(rows[j + 1], rows[j])
        assert longest_common(one, two) == rows[-1]


SOURCE = {"text": "In March, Anna Berg sold 1,200 boats to the port of Kiel. The Danish crew paid 3.5 million."}


@pytest.mark.parametrize(
    ("summary", "numbers", "names", "words"),
    [
        ("Anna Berg sold 1200 boats to Kiel.", 1, 1, 1),
        ("Later, Anna Berg sold 1300 boats to Kiel.", 0, 1, 4 / 6),
        ("Later, Anna Ferg sold boats to Oslo.", None, 1 / 3, 3 / 6),
        ("boats sold", None, None, 1),
    ],
)
def test_grounded(summary: str, numbers: float | None, names: float | None, words: float) -> None:
    score = grader("grounded", field="s", source=["text"]).grade({"s": summary}, SOURCE)
    assert score.details.get("numbers") == numbers
    assert score.details.get("names") == (None if names is None else pytest.approx(names))
    assert score.details["words"] == pytest.approx(words, abs=0.2)
    parts = [score.details[name] for name in ("numbers", "names", "words") if name in score.details]
    assert score.value == pytest.approx(sum(parts) / len(parts))


def test_grounded_is_low_for_another_text_and_knows_copies() -> None:
    grounded = grader("grounded", field="s", source=["text"])
    copied = grounded.grade({"s": SOURCE["text"]}, SOURCE)
    assert (copied.value, copied.details["bigrams"]) == (1, 1)
    assert grounded.grade({"s": "Rainfall in Peru fell by 14 %."}, SOURCE).value == 0
    assert grounded.grade({"s": " "}, SOURCE).value == 0
    assert grounded.grade({"s": "x"}, {"text": ""}) is None


def test_hook() -> None:
    def half(output: dict[str, Json], row: dict[str, Json]) -> float:
        output.clear()
        return row["score"]  # type: ignore[no-any-return]

    python = graders({"mine": GraderSettings(kind="python")}, half)["mine"]
    output = {"a": 1}
    assert python.grade(output, {"score": 0.5}).value == 0.5  # type: ignore[union-attr]
    assert output == {"a": 1}
    assert python.grade(output, {"score": None}) is None
    for row in ({}, {"score": 1.5}, {"score": "good"}):  # raises, out of range, no number
        assert python.grade(output, row).details == {"faults": 1}  # type: ignore[union-attr]
    with pytest.raises(PipelineError, match=r"hooks.py defines no grade"):
        graders({"mine": GraderSettings(kind="python")}, None)


@pytest.mark.parametrize(
    ("told", "problem"),
    [
        ({"kind": "exact", "field": "a"}, "needs gold"),
        ({"kind": "length", "field": "a", "gold": "b"}, "takes no gold"),
        ({"kind": "pattern", "field": "a"}, "needs must or must_not"),
        ({"kind": "pattern", "field": "a", "must": ["("]}, "no regular expression"),
        ({"kind": "exact", "field": "a", "gold": "b", "passes": 2}, "less than or equal to 1"),
    ],
)
def test_settings_that_do_not_fit(told: dict[str, Json], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        GraderSettings(**told)
