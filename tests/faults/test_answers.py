"""What is wrong with answers: each becomes an outcome on record, and never a crash, a wrong bill or a false result.

Bodies are asked for whole (no streaming), so chunks that come twice or out of order can only be a damaged body.
"""

import itertools
import time
from collections.abc import Callable
from typing import Any

import orjson
import pytest

from llmbatch.providers.wire import MOST_BYTES
from llmbatch.simulator import Fault, Scenario, Server
from tests.cli.conftest import Serve, tickets
from tests.faults.conftest import Desk, lines

ECHO = Server(brain="echo")
ROWS = 5
BAD = "number 2:"  #: in the text of the one row that meets the fault


def ask(desk: Desk, serve: Serve, *faults: Fault, expect: int = 0, flags: tuple[str, ...] = ()) -> dict[str, Any]:
    server = serve(Scenario(fault=faults, server=ECHO))
    desk.put(lines(*tickets(ROWS)))
    quick = ("--set", "limits.max_attempts=2", *flags)
    report = desk.run("-i", "in.jsonl", *quick, url=server.base_url, expect=expect)
    assert report["attempts"]["sent"] == server.account.total.requests, "every call is on record"
    return report


#: kind of fault and what its row fails with; None where the flaw does not matter
OUTCOMES = {
    "truncated": "truncated", "content_filter": "content_filter", "refusal": "refusal", "refusal_text": "refusal",
    "empty": "empty", "null_content": "empty", "tool_calls_only": "empty", "wrong_shape": "schema",
    "wrong_enum": "schema", "not_json": "schema", "duplicate_key": "not_json", "nan": "not_json",
    "ignore_schema": "not_json", "no_choices": "broken_reply", "cut_json_body": "broken_reply",
    "invalid_utf8": "broken_reply", "html_200": "broken_reply", "error_200": "broken_reply",
    "null_200": "broken_reply", "empty_200": "broken_reply", "fenced": None, "prose": None, "extra_key": None,
    "content_parts": None, "other_tier": None, "nul": None, "lone_surrogate": None,
}  # fmt: skip
FINAL = {"content_filter", "refusal"}  #: asking again would not help


@pytest.mark.parametrize("format", [pytest.param("jsonl", marks=pytest.mark.short), "parquet"])
def test_every_flaw_of_an_answer_has_its_outcome_and_touches_no_other_row(
    desk: Desk, serve: Serve, format: str
) -> None:
    server = serve(Scenario(fault=tuple(Fault(kind=kind, match=f"<{kind}>") for kind in OUTCOMES), server=ECHO))
    rows = [
        {"id": f"{kind} {n}", "text": f"<{kind}>" if n else f"{kind}, but well"} for kind in OUTCOMES for n in (0, 1)
    ]
    desk.put(lines(*rows))
    flags = ("--set", "limits.max_attempts=2", "--format", format)
    report = desk.run("-i", "in.jsonl", *flags, url=server.base_url, expect=3)
    results = desk.results() if format == "jsonl" else desk.frame().to_dicts()
    assert [row["id"] for row in results] == [row["id"] for row in rows]
    failed = {
        row["id"]: row["llmbatch_error"].partition(":")[0] for row in results if row["llmbatch_status"] == "failed"
    }
    assert failed == {f"{kind} 1": failure for kind, failure in OUTCOMES.items() if failure}
    assert all((row["summary"] is None) == (row["id"] in failed) for row in results)
    summary = {row["id"]: row["summary"] for row in results}
    assert summary["nul 1"].startswith("\0")
    assert summary["lone_surrogate 1"].startswith("\ufffd")
    asked_again = sum(failure is not None and failure not in FINAL for failure in OUTCOMES.values())
    assert report["attempts"]["sent"] == server.account.total.requests == len(rows) + asked_again


@pytest.mark.short
@pytest.mark.parametrize("kind", ["missing_usage", "negative_usage", "huge_usage"])
def test_a_usage_that_cannot_be_is_an_unknown_price(desk: Desk, serve: Serve, kind: str) -> None:
    """Never $0, never negative, never 10^15 tokens: unknown, counted apart, and null in the results."""
    desk.price("2", "8")
    report = ask(desk, serve, Fault(kind=kind, match=BAD))
    assert report["cost"]["unpriced_attempts"] == 1
    costs = [row["llmbatch_cost_usd"] for row in desk.results()]
    assert costs[2] is None
    assert report["cost"]["total_usd"] == pytest.approx(sum(cost for cost in costs if cost), abs=1e-12)
    assert 0 < report["cost"]["total_usd"] < 0.01
    assert 0 < report["tokens"]["input"] < 1_000


@pytest.mark.short
def test_a_usage_that_cannot_be_is_paid_from_the_budget_at_its_worst(desk: Desk, serve: Serve) -> None:
    """The budget cannot know what such an answer cost, so it counts the most that it can have cost."""
    desk.price("1000", "1000")
    report = ask(desk, serve, Fault(kind="negative_usage"), expect=4, flags=("--budget", "1.5"))
    assert report["attempts"]["sent"] < ROWS
    assert report["cost"]["unpriced_attempts"] == report["attempts"]["sent"] > 0


@pytest.mark.short
def test_a_model_that_changes_during_the_night_is_reported(desk: Desk, serve: Serve) -> None:
    report = ask(desk, serve, Fault(kind="other_model", model="m-1-mini", match=BAD))
    assert {entry["model"]: entry["attempts"] for entry in report["cost"]["by_model"]} == {"m-1": 4, "m-1-mini": 1}
    assert [row["llmbatch_model"] for row in desk.results()] == ["m-1", "m-1", "m-1-mini", "m-1", "m-1"]
    assert "m-1-mini" in desk.call("report", "label").stdout


UNCUT = ("--set", "request.params.max_completion_tokens=1000000000", "--set", "limits.timeout_s=60")


@pytest.mark.short
def test_an_answer_of_ten_megabytes_is_kept_and_not_paid_twice(desk: Desk, serve: Serve) -> None:
    ask(desk, serve, Fault(kind="big_answer", size=10_000_000, match=BAD), flags=UNCUT)
    assert [len(row["summary"]) > 10**6 for row in desk.results()] == [False, False, True, False, False]
    assert desk.results()[2]["summary"] == "x" * 10_000_000
    again = ask(desk, serve, flags=UNCUT)
    assert (again["rows"]["reused"], again["attempts"]["sent"]) == (ROWS, 0)


@pytest.mark.short
def test_an_answer_without_end_is_cut_off_and_no_reply(desk: Desk, serve: Serve) -> None:
    assert MOST_BYTES < 50_000_000
    report = ask(desk, serve, Fault(kind="big_answer", size=50_000_000, match=BAD), expect=3, flags=UNCUT)
    assert report["failures"] == {"broken_reply": 1}
    assert report["attempts"]["possibly_paid_twice"] == 2
    assert "larger than 16 MiB" in desk.results()[2]["llmbatch_error"]
    assert (desk.folder / ".llmbatch/label.duckdb").stat().st_size < 10 * 2**20


def backwards() -> Callable[[], float]:
    """A clock that loses an hour at every look."""
    steps = itertools.count()
    start = time.time()
    return lambda: start - 3600 * next(steps)


def to_and_fro() -> Callable[[], float]:
    """A clock that is a day ahead at every other look."""
    steps = itertools.count()
    start = time.time()
    return lambda: start + 86_400 * (next(steps) % 2)


@pytest.mark.parametrize("clock", [backwards, to_and_fro])
def test_a_clock_that_jumps_changes_no_wait_and_no_latency(
    desk: Desk, serve: Serve, monkeypatch: pytest.MonkeyPatch, clock: Callable[[], Callable[[], float]]
) -> None:
    """The times of day in the ledger jump with it; waits, time-outs and latencies use a clock that cannot."""
    waits = (
        Fault(kind="rate_limited", times=1, match=BAD, retry_after_s=0.3),
        Fault(kind="server_error", times=1, match="number 4:"),
    )
    started = time.monotonic()
    with monkeypatch.context() as patched:
        patched.setattr(time, "time", clock())
        report = ask(desk, serve, *waits)
    assert 0.3 < time.monotonic() - started < 20
    assert report["rows"]["done"] == ROWS
    assert 0 < report["latency_ms"]["p50"] <= report["latency_ms"]["p99"] < 5_000
    assert report["wall_s"] >= 0
    assert (report["throughput"]["rows_per_s"] or 0) >= 0
    with monkeypatch.context() as patched:
        patched.setattr(time, "time", clock())
        assert ask(desk, serve)["rows"]["reused"] == ROWS
    attempts = orjson.loads(desk.call("show", "label", "r2", "--json").stdout)["attempts"]
    assert all(0 <= attempt["latency_ms"] < 5_000 for attempt in attempts)
