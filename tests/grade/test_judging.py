"""What a judge's opinions come to; and how near two embeddings are."""

import base64
import random
import struct

import pytest

from llmbatch.grade import Asked, Opinion, judged, opinion
from llmbatch.grade.similar import cosine, vector
from tests.bench.judges import World, covers, trial

ASKED = Asked("fine", "judge-1", "verdict", answered=80, failed=20, ungraded=3)


@pytest.mark.parametrize(
    ("straight", "turned", "value", "consistent"),
    [
        ("first", "second", 1.0, True),
        ("second", "first", 0.0, True),
        ("tie", "tie", 0.5, True),
        ("first", "first", 0.5, False),
        ("second", "tie", 0.5, False),
    ],
)
def test_a_pair_is_decided_only_by_both_orders(straight: str, turned: str, value: float, consistent: bool) -> None:
    found = opinion("pair", [{"better": straight}, {"better": turned}])
    assert (found.value, found.consistent) == (value, consistent)


def test_verdicts_and_scores_as_numbers() -> None:
    assert [opinion("verdict", [{"verdict": said}]).value for said in ("right", "wrong")] == [1, 0]
    assert [opinion("score", [{"score": said}]).value for said in (1, 4, 5)] == [0, 0.75, 1]


def test_rows_that_failed_and_answers_without_an_opinion_are_wrong() -> None:
    opinions = [*[Opinion(1.0)] * 30, *[Opinion(0.0)] * 6, *[Opinion(None, "refusal")] * 4]
    found = judged(ASKED, opinions)
    assert found.judged is not None
    assert found.mean == pytest.approx(0.8 * 30 / 40)
    assert (found.rows, found.failed, found.ungraded, found.passed) == (60, 20, 3, 30)
    assert found.judged.unjudged == {"refusal": 4}
    assert found.judged.method == "judge"
    assert judged(ASKED, []).mean == 0  # there are rows, and all that is known of them is wrong
    assert judged(Asked("fine", "judge-1", "verdict", 0, 0, 5), []).mean is None


def test_too_few_labels_correct_nothing_and_labels_of_every_row_are_the_answer() -> None:
    labelled = [Opinion(1.0, human=float(n % 2)) for n in range(40)]
    few = judged(ASKED, [*labelled[:19], *[Opinion(1.0)] * 21])
    assert few.judged is not None
    assert (few.judged.method, few.judged.labelled) == ("judge", 19)
    assert few.mean == pytest.approx(0.8)
    whole = judged(ASKED, labelled)
    assert whole.judged is not None
    assert whole.judged.method == "labels"
    assert whole.mean == pytest.approx(0.8 * 0.5)
    extra = [Opinion(0.0, human=0.0, drawn=False)] * 20
    assert judged(ASKED, [*[Opinion(1.0)] * 40, *extra]).judged.alone == pytest.approx(0.8)  # type: ignore[union-attr]


def test_the_interval_holds_the_truth_with_labels_and_not_without() -> None:
    """The long version is `make bench-quality`."""
    rng = random.Random(5)
    with_labels = sum(covers(*trial(World(), rng)) for _ in range(150))
    without = sum(covers(*trial(World(labels=0), rng)) for _ in range(150))
    assert with_labels >= 0.9 * 150
    assert without < 0.8 * 150


def test_embeddings_as_numbers_and_as_base64() -> None:
    numbers = [0.5, -0.25, 1.0]
    packed = base64.b64encode(struct.pack("<3f", *numbers)).decode()
    assert vector(packed) == vector(numbers) == (0.5, -0.25, 1.0)
    assert vector("no base64!") == vector(None) == ()
    assert cosine([1, 0], [1, 0]) == 1
    assert cosine([1, 1], [1, 0]) == pytest.approx(2**-0.5)
    assert cosine([1, 0], [-1, 0]) == 0
    assert cosine([1, 0], [1, 0, 0]) is cosine([0, 0], [1, 0]) is cosine([], []) is None
