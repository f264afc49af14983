"""F1 tables against values of scikit-learn 1.9.1 and against simulation."""

import random
from collections import Counter

import pytest

from llmbatch.grade import agreement
from llmbatch.grade.agreement import Pair


def pair(expected: str, given: str) -> Pair:
    return frozenset(expected), frozenset(given)


PAIRS: Counter[Pair] = Counter(
    {pair("a", "a"): 6, pair("ab", "a"): 2, pair("b", "bc"): 3, pair("c", "b"): 1, pair("d", ""): 1}
)


def test_table() -> None:
    table = agreement(PAIRS)
    assert table is not None
    assert [score.label for score in table.labels] == ["a", "b", "c", "d"]
    a, b, c, d = table.labels
    assert (a.right, a.wrong, a.missed, a.f1) == (8, 0, 0, 1.0)
    assert (b.right, b.wrong, b.missed) == (3, 1, 2)
    assert [b.precision, b.recall, b.f1] == pytest.approx([0.75, 0.6, 2 / 3])
    assert (c.precision, c.recall, c.f1) == (0, 0, 0)
    assert (d.precision, d.recall) == (None, 0)
    assert table.micro.f1 == pytest.approx(22 / 30)  # sklearn: f1_score(average="micro")
    assert table.macro_f1 == pytest.approx((1 + 2 / 3) / 4)  # average="macro"
    assert a.interval.low == pytest.approx(2 * 0.6756 / 1.6756, abs=1e-3)  # Wilson of 8/8 is 0.6756 to 1
    assert table.confused[0] == type(table.confused[0])("", "c", 3)
    assert {(mix.gold, mix.given): mix.rows for mix in table.confused} == {
        ("", "c"): 3,
        ("b", ""): 2,
        ("c", "b"): 1,
        ("d", ""): 1,
    }


def test_no_labels_no_table() -> None:
    assert agreement({}) is None
    assert agreement({pair("", ""): 5}) is None


def night(rng: random.Random, rows: int) -> Counter[Pair]:
    """Rows with one to three of eight labels of uneven frequency, each found with 0.8, and one too many with 0.2."""
    names, weights = "abcdefgh", (8, 6, 4, 3, 2, 2, 1, 1)
    found: Counter[Pair] = Counter()
    for _ in range(rows):
        expected = set(rng.choices(names, weights, k=rng.randint(1, 3)))
        given = {label for label in expected if rng.random() < 0.8}
        if rng.random() < 0.2:
            given.add(rng.choices(names, weights)[0])
        found[frozenset(expected), frozenset(given)] += 1
    return found


def test_intervals_cover_the_truth() -> None:
    rng = random.Random(11)
    truth = agreement(night(rng, 60_000))
    assert truth is not None
    a = {score.label: score.f1 for score in truth.labels}["a"]
    hits = Counter[str]()
    for _ in range(200):
        table = agreement(night(rng, 200))
        assert table is not None
        (label,) = (score for score in table.labels if score.label == "a")
        hits["label"] += label.interval.low <= a <= label.interval.high
        hits["micro"] += table.micro.interval.low <= truth.micro.f1 <= table.micro.interval.high
        hits["macro"] += table.macro_interval.low <= truth.macro_f1 <= table.macro_interval.high
    for name, count in hits.items():
        assert 0.90 <= count / 200 <= 0.99, name
