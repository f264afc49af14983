"""The sums of a run: every dollar in its place, and memory that does not grow with the rows."""

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from llmbatch.tally import Extremes, Look, Saved, Tally, Timeline
from llmbatch.types import Attempt, Outcome, Status
from tests.report.runs import attempt, reply


def call(row_no: int, seconds: float, cost: str | None, *, answered: bool = True) -> Attempt:
    answer = reply(cost=cost) if answered else None
    dollars = None if cost is None or not answered else Decimal(cost)
    return Attempt("k", row_no, 1, 0.0, seconds, "answered", 200, None, None, answer, dollars)


def test_the_ten_slowest_and_the_ten_dearest_rows() -> None:
    extremes = Extremes()
    for n in range(1_000):
        extremes.attempted(call(n, n / 10, str(1_000 - n)))
        extremes.finished(Outcome(n, Status.DONE, row_id=f"r{n}"))
    slowest, dearest = extremes.slowest(), extremes.dearest()
    assert [row.id for row in slowest] == [f"r{n}" for n in range(999, 989, -1)]
    assert [row.row_no for row in dearest] == list(range(10))
    assert dearest[0].cost_usd == 1_000
    assert not extremes._open


def test_answers_that_come_long_before_their_rows_end_are_not_all_kept() -> None:
    extremes = Extremes()
    for n in range(50_000):
        extremes.attempted(call(n, 3_600.0 + (n == 7), "1.5" if n == 30_000 else "0.5"))
        assert len(extremes._open) <= 8_192
    extremes.attempted(call(7, 0.5, "1.5"))
    for n in range(50_000):
        extremes.finished(Outcome(n, Status.DONE))
    assert [(row.row_no, row.seconds) for row in extremes.slowest()[:2]] == [(7, 3_601.5), (0, 3_600.0)]
    assert [(row.row_no, row.cost_usd) for row in extremes.dearest()[:2]] == [(7, Decimal(2)), (30_000, Decimal("1.5"))]
    assert not extremes._open


def test_a_rows_calls_are_summed_and_what_was_not_asked_for_is_left_out() -> None:
    extremes = Extremes()
    extremes.attempted(call(1, 2.0, "0.5"))
    extremes.attempted(call(1, 0.5, None, answered=False))
    extremes.attempted(call(2, 3.0, None))
    for n, status in ((0, Status.REUSED), (1, Status.FAILED), (2, Status.DONE)):
        extremes.finished(Outcome(n, status))
    assert [(row.row_no, row.seconds, row.attempts, row.unpriced) for row in extremes.slowest()] == [
        (2, 3.0, 1, 1), (1, 2.5, 2, 0),
    ]  # fmt: skip
    assert [row.row_no for row in extremes.dearest()] == [1]


def test_three_examples_of_a_class_and_no_problem_is_worded_in_vain() -> None:
    tally, worded = Tally(), []

    def problem(n: int) -> str:
        worded.append(n)
        return f"problem {n}"

    for n in range(100):
        outcome = Outcome(n, Status.FAILED, failure="schema" if n % 2 else "check")
        tally.failed(outcome, f"in.jsonl:{n + 1}", lambda n=n: problem(n))  # type: ignore[misc]
    kept = tally.examples.list()
    assert [(row.failure, row.row_no, row.place) for row in kept] == [
        ("check", 0, "in.jsonl:1"), ("check", 2, "in.jsonl:3"), ("check", 4, "in.jsonl:5"),
        ("schema", 1, "in.jsonl:2"), ("schema", 3, "in.jsonl:4"), ("schema", 5, "in.jsonl:6"),
    ]  # fmt: skip
    assert sorted(worded) == [0, 1, 2, 3, 4, 5]


def test_classes_models_and_tiers_without_end_stay_bounded() -> None:
    tally = Tally()
    for n in range(1_000):
        tally.failed(Outcome(n, Status.FAILED, failure=f"c{n}"), "p", lambda: "x")
        answer = reply(f"m{n}")
        tally.attempted(attempt(answer))
        tally.finished(Outcome(n, Status.DONE), answer)
    assert len(tally.examples.list()) <= 64
    assert len(tally.by_model) <= 101
    assert sum(model.attempts for model in tally.by_model.values()) == 1_000


def test_tiers_have_their_dollars_and_the_standard_one_has_one_name() -> None:
    tally = Tally()
    for tier, cost in (("default", "1"), (None, "2"), ("auto", "4"), ("flex", "8"), ("batch", None)):
        answer = reply(cost=cost)
        object.__setattr__(answer, "tier", tier)
        tally.attempted(attempt(answer))
    assert {name: (sums.attempts, int(sums.cost_usd), sums.unpriced) for name, sums in tally.by_tier.items()} == {
        "standard": (3, 7, 0), "flex": (1, 8, 0), "batch": (1, 0, 1),
    }  # fmt: skip


def test_what_was_saved_is_summed_where_it_is_known() -> None:
    tally = Tally()
    tally.saved_by = lambda attempt: Saved(Decimal(1), None) if attempt.latency_s < 1 else None
    for seconds in (0.5, 0.5, 2.0):
        tally.attempted(attempt(reply(), seconds))
    assert tally.saved_by_cache_usd == 2
    assert tally.saved_by_tier_usd == 0


@given(st.lists(st.tuples(st.floats(0.01, 5_000), st.integers(0, 500)), min_size=1, max_size=400))
def test_a_timeline_is_bounded_and_loses_nothing(looks: list[tuple[float, int]]) -> None:
    timeline, at, rows = Timeline(), 0.0, 0
    for wait, more in looks:
        at, rows = at + wait, rows + more
        timeline.add(at, Look(rows, 2 * rows, rows / 8, more, 7, down=more > 250))
    spans = timeline.spans
    assert len(spans) <= 240
    assert max(spans) < 240
    assert sum(point.rows for point in spans.values()) == rows
    assert sum(point.answers for point in spans.values()) == 2 * rows
    assert sum(point.dollars for point in spans.values()) == rows / 8
    assert abs(sum(point.seconds for point in spans.values()) - at) < 1e-6 * at + 1e-9
    assert max(point.in_flight for point in spans.values()) == max(more for _, more in looks)
