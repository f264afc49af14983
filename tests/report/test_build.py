"""From a run's sums to its report: every field, counts that add up, and unknown as null."""

import itertools
import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbatch.report import build, from_json, to_json
from llmbatch.tally import Tally
from llmbatch.types import Outcome, Status
from tests.report.runs import INVALID, a_night, answered, facts, reply

STABLE: dict[str, Any] = {
    "run_id": str,
    "pipeline": str,
    "prompt_version": str,
    "status": str,
    "exit_code": int,
    "started_at": str,
    "ended_at": str,
    "wall_s": float,
    "rows": {"total": int, "done": int, "reused": int, "failed": int, "skipped": int, "pending": int},
    "failures": dict,
    "attempts": {
        "sent": int,
        "ok": int,
        "invalid": int,
        "rate_limited": int,
        "timeout": int,
        "transient": int,
        "rejected": int,
        "possibly_paid_twice": int,
    },
    "tokens": {"input": int, "cached": int, "output": int, "reasoning": int},
    "cost": {
        "total_usd": float,
        "invalid_usd": float,
        "saved_by_reuse_usd": float,
        "by_model": list,
        "unpriced_attempts": int,
        "price_source": str,
    },
    "latency_ms": {"p50": float, "p95": float, "p99": float},
    "throughput": {"rows_per_s": float},
    "limits": {"concurrency_final": int, "changes": list},
}


def assert_shape(value: Any, shape: Any, where: str = "report") -> None:
    if isinstance(shape, dict):
        for name, inner in shape.items():
            assert name in value, f"{where}.{name} is missing"
            assert_shape(value[name], inner, f"{where}.{name}")
    else:
        assert isinstance(value, shape), f"{where} is {value!r}"


def test_report_json_has_every_stable_field() -> None:
    shape = to_json(build(a_night(), facts()))
    assert_shape(shape, STABLE)
    assert json.loads(json.dumps(shape, allow_nan=False)) == shape


def test_numbers_of_a_night() -> None:
    report = build(a_night(), facts())
    assert report.rows.total == 12
    assert (report.rows.done, report.rows.reused, report.rows.failed) == (5, 2, 2)
    assert (report.rows.skipped, report.rows.pending) == (1, 2)
    assert report.reconciles
    assert report.failures == {"schema": 1, "timeout": 1}
    assert report.skips == {"too_long": 1}
    attempts = report.attempts
    assert (attempts.sent, attempts.ok, attempts.invalid, attempts.rate_limited, attempts.timeout) == (9, 5, 2, 1, 1)
    assert attempts.possibly_paid_twice == 1
    assert (report.tokens.input, report.tokens.cached) == (7_000, 1_400)
    assert (report.tokens.output, report.tokens.reasoning) == (700, 210)
    assert report.started_at == "2026-11-23T22:07:30Z"
    assert report.ended_at == "2026-11-23T22:07:34Z"
    assert report.wall_s == 4.0
    assert report.throughput.rows_per_s == 2.5
    assert report.latency_ms.p50 == pytest.approx(500, rel=0.022)
    assert report.latency_ms.p99 == pytest.approx(1_600, rel=0.022)
    assert report.notes == ("the server takes json_object only", "ran beside a backup")


def test_dollars_are_sums_of_what_is_priced_and_the_rest_is_counted() -> None:
    cost = build(a_night(), facts()).cost
    assert cost.total_usd == Decimal("0.003")
    assert cost.invalid_usd == Decimal("0.0005")
    assert cost.saved_by_reuse_usd == Decimal("0.001")
    assert cost.unpriced_attempts == 1
    assert [(m.model, m.cost_usd, m.attempts) for m in cost.by_model] == [
        ("gpt-5-mini", Decimal("0.003"), 6),
        ("strange-model", None, 1),
    ]


def test_dollars_are_json_numbers() -> None:
    cost = to_json(build(a_night(), facts()))["cost"]
    assert cost["total_usd"] == 0.003
    assert cost["by_model"][0]["cost_usd"] == 0.003
    assert cost["by_model"][1]["cost_usd"] is None


def test_a_run_without_any_price_costs_null_not_zero() -> None:
    tally = Tally()
    tally.planned(2)
    for n in range(2):
        answered(tally, reply("my-llama", cost=None), INVALID)
        tally.finished(Outcome(n, Status.REUSED), reply("my-llama", cost=None))
    cost = to_json(build(tally, facts(price_source="none")))["cost"]
    assert (cost["total_usd"], cost["invalid_usd"], cost["saved_by_reuse_usd"]) == (None, None, None)
    assert cost["unpriced_attempts"] == 2


def test_a_run_that_asked_nothing_cost_nothing() -> None:
    assert to_json(build(Tally(), facts()))["cost"]["total_usd"] == 0


def test_a_free_model_costs_zero() -> None:
    tally = Tally()
    answered(tally, reply("offline/extractive-1", cost="0"))
    cost = to_json(build(tally, facts()))["cost"]
    assert cost["total_usd"] == 0
    assert cost["unpriced_attempts"] == 0


def test_more_outcomes_than_rows_do_not_reconcile() -> None:
    tally = Tally()
    tally.planned(1)
    for n in range(2):
        tally.finished(Outcome(n, Status.DONE), None)
    report = build(tally, facts())
    assert report.rows.pending == 0
    assert not report.reconciles


def test_rows_told_as_pending_are_pending_once() -> None:
    tally = Tally()
    tally.planned(3)
    tally.finished(Outcome(0, Status.DONE), None)
    tally.finished(Outcome(1, Status.PENDING), None)
    report = build(tally, facts())
    assert report.rows.pending == 2
    assert report.reconciles


@given(st.lists(st.sampled_from(list(Status))), st.integers(0, 50))
def test_counts_reconcile_whatever_happened(ends: list[Status], unseen: int) -> None:
    tally = Tally()
    tally.planned(len(ends) + unseen)
    for n, status in enumerate(ends):
        tally.finished(Outcome(n, status, failure="x"), None)
    report = build(tally, facts())
    assert report.reconciles
    assert sum(report.failures.values()) == report.rows.failed
    assert sum(report.skips.values()) == report.rows.skipped


def test_an_empty_run() -> None:
    shape = to_json(build(Tally(), facts(ended_at=facts().started_at)))
    assert shape["latency_ms"] == {"p50": None, "p95": None, "p99": None, "histogram": []}
    assert shape["throughput"]["rows_per_s"] is None


def test_a_clock_set_back_does_not_make_time_negative() -> None:
    assert build(Tally(), facts(ended_at=facts().started_at - 60)).wall_s == 0


@given(st.lists(st.floats(0.0001, 4_000), min_size=1))
def test_the_histogram_holds_every_answer_without_gaps(seconds: list[float]) -> None:
    tally = Tally()
    for latency in seconds:
        answered(tally, reply(), latency_s=latency)
    bars = build(tally, facts()).latency_ms.histogram
    assert sum(bar.count for bar in bars) == len(seconds)
    assert all(a.to_ms == b.from_ms for a, b in itertools.pairwise(bars))
    assert len(bars) <= 27
    assert bars[0].count
    assert bars[-1].count
    assert bars[0].from_ms <= min(seconds) * 1000 * 1.03
    assert bars[-1].to_ms >= max(seconds) * 1000 / 1.03


def test_round_trip() -> None:
    report = build(a_night(), facts())
    assert from_json(json.loads(json.dumps(to_json(report)))) == report


def test_reads_reports_of_later_and_of_earlier_releases() -> None:
    report = build(a_night(), facts())
    shape = to_json(report)
    shape["added_later"] = {"x": 1}
    shape["cost"]["added_later"] = 1
    assert from_json(shape) == report
    stable_only = {
        name: {inner: shape[name][inner] for inner in kind} if isinstance(kind, dict) else shape[name]
        for name, kind in STABLE.items()
    }
    assert from_json(stable_only).rows == report.rows


def test_a_broken_report_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="rows"):
        from_json({"run_id": "x"})
