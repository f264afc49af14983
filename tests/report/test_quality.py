"""How quality is told: in the text, on the page; an honest low figure, a floor, what moved."""

import re
from dataclasses import replace
from html import unescape

from llmbatch.grade import Drift, Interval, Move, Profile, Quality, Score, Scores, Signature
from llmbatch.report import build, from_json, html, text, to_json
from tests.report.runs import a_night, facts
from tests.report.test_page import Page

SIGNATURE = Signature("v1", "m-1", "default")
MOVES = (
    Move("grader tags", 0.9, 0.85, Interval(-0.07, -0.03), 1e-9, worse=True, context=False),
    Move("refusal", 0.02, 0.001, Interval(-0.03, -0.01), 1e-9, worse=False, context=False),
    Move("latency_ms", 1_234.0, 5_678.0, None, 1e-9, worse=None, context=True),
)
DRIFT = Drift(("run-9", "run-8"), 2_000, 4_000, MOVES, ("model m-1 -> <b>m-2</b>",), 0.03, None)


def quality(drift: Drift | None = DRIFT) -> Quality:
    tags = Scores("tags", floor=0.9)
    for n in range(40):
        given = frozenset({"bug" if n % 4 else "<i>billing</i>"})
        score = Score(float(n % 4 > 0), {"exact": 1.0, "precision": 1.0}, frozenset({"bug"}), given)
        tags.add(score, failed=False)
    tags.add(Score(0.0, {}, frozenset({"bug"}), frozenset()), failed=True)
    tags.add(None, failed=False)
    return Quality((tags.graded(), Scores("empty").graded()), 1.0, Profile(rows=41), SIGNATURE, drift)


def test_the_text() -> None:
    shown = " ".join(text(build(a_night(), facts(quality=quality()))).split())
    for words in (
        "tags: 73.2% (58.1 to 84.3%) of 41 rows, F1 74.1%",
        "1 failed and wrong, 1 without gold, BELOW THE FLOOR OF 90.0%",
        "empty: nothing graded",
        "3 things moved: 2,000 new rows against 4,000 of 2 runs since run-8",
        "grader tags: 90.0% -> 85.0% (-7.0 to -3.0 points), worse",
        "refusal: 2.0% -> 0.1% (-3.0 to -1.0 points), better",
        "ms of latency: median 1,234 -> 5,678, around the answers",
        "changed: model m-1 -> <b>m-2</b>",
    ):
        assert words in shown, words


def test_quiet_nights_and_nights_that_cannot_be_compared() -> None:
    quiet = text(build(a_night(), facts(quality=quality(replace(DRIFT, moves=(), changed=())))))
    assert "nothing moved: 2,000 new rows" in quiet
    few = replace(DRIFT, moves=(), against=(), reason="3 newly answered rows are too few; 50 are wanted")
    assert "not compared: 3 newly answered rows are too few" in text(build(a_night(), facts(quality=quality(few))))
    assert "Drift" not in text(build(a_night(), facts(quality=quality(None))))
    assert "Quality" not in text(build(a_night(), facts()))


def test_many_moves_are_cut() -> None:
    many = replace(DRIFT, moves=MOVES * 5)
    assert "and 7 more, in report.json" in text(build(a_night(), facts(quality=quality(many))))


def test_the_page() -> None:
    source = html(build(a_night(), facts(quality=quality())))
    assert "<b>m-2" not in source
    assert "<i>billing" not in source
    assert Page(source)  # well-formed
    shown = " ".join(unescape(re.sub("<[^>]*>", " ", source)).split())
    for words in (
        "tags 73.2%, floor 90.0% 58.1 to 84.3% 41",
        "grader tags 90.0% 85.0% -7.0 to -3.0 points worse",
        "bug 41 100.0% 73.2% 84.5%",
        "Most frequent mistakes: <i>billing</i> for bug 10, nothing for bug 1",
        "Against the nights before: 3 things moved",
    ):
        assert words in shown, words
    assert 'id="quality"' not in html(build(a_night(), facts()))


def test_json_and_back() -> None:
    report = build(a_night(), facts(quality=quality()))
    again = from_json(to_json(report))
    assert again.quality is not None
    assert again.quality == report.quality
