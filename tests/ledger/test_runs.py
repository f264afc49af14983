from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb

from llmbatch.ledger import (
    COMPARED,
    Ledger,
    answers_between,
    begin,
    begun,
    changes,
    connect,
    end,
    reports_before,
    spent,
    spent_by_version,
)
from llmbatch.ledger.runs import Run
from llmbatch.types import Outcome, Status
from tests.ledger.conftest import attempt, key, request, start


def finish(con: duckdb.DuckDBPyConnection, run: Run, status: str) -> None:
    end(con, run, ended_at=run.started_at + 1, status=status, exit_code=0, report="{}")


def test_candidates_of_a_comparison_are_no_nights(tmp_path: Path) -> None:
    """They hide no run that stopped, none goes on with them, and no night is held against them."""
    con = connect(tmp_path / "l.duckdb")
    alone = begin(con, start(fingerprint=f"{COMPARED}f1"))
    assert (alone.run_no, alone.resumes, alone.before) == (1, (), None)
    night = begin(con, start())  # with the same model and prompt
    assert (night.run_no, night.resumes, night.before) == (2, (), None)
    finish(con, night, "budget_reached")
    for number in (3, 4):  # the first of them was killed
        candidate = begin(con, start(fingerprint=f"{COMPARED}f1", version="v2"))
        assert (candidate.run_no, candidate.resumes, candidate.before) == (number, (), None)
    finish(con, candidate, "compare")
    rest = begin(con, start())
    assert (rest.run_no, rest.resumes, rest.before) == (5, (2,), None)
    finish(con, rest, "finished")
    assert begin(con, start(fingerprint="f2")).before == 5
    assert [run_id for run_id, _ in reports_before(con, Run(6, "", 0.0, (), None), 9)] == [rest.run_id, night.run_id]
    newest = begun(con, "")
    assert newest is not None
    assert newest.run.run_no == 6
    told = begun(con, candidate.run_id)
    assert told is not None
    assert told.run.run_no == 4


def test_a_run_goes_on_with_unfinished_ones_of_the_same_input_and_prompt(tmp_path: Path) -> None:
    con = connect(tmp_path / "l.duckdb")
    first = begin(con, start())
    assert (first.resumes, first.before) == ((), None)
    second = begin(con, start())  # the first was killed: it has no end
    assert second.resumes == (1,)
    finish(con, second, "budget_reached")
    third = begin(con, start())
    assert (third.resumes, third.before) == ((1, 2), None)
    finish(con, third, "finished")
    next_night = begin(con, start(fingerprint="f2"))
    assert (next_night.resumes, next_night.before) == ((), 3)
    edited = begin(con, start(fingerprint="f2", version="v2"))
    assert (edited.resumes, edited.before) == ((), 4)
    con.close()


def settle(con: duckdb.DuckDBPyConnection, run: Run, rows: dict[str, int]) -> None:
    for row_no, (row_id, n) in enumerate(rows.items()):
        con.execute(
            "insert into outcomes values (?, ?, ?, 'done', ?, null, null, null, false)",
            [run.run_no, row_no, row_id, bytes.fromhex(key(n))],
        )


def test_changes_are_told_by_id(tmp_path: Path) -> None:
    con = connect(tmp_path / "l.duckdb")
    monday = begin(con, start())
    assert changes(con, monday, by_id=True) is None
    settle(con, monday, {"a": 1, "b": 2, "c": 3})
    finish(con, monday, "finished")
    tuesday = begin(con, start(fingerprint="f2"))
    settle(con, tuesday, {"a": 1, "b": 20, "d": 4, "e": 5})
    assert changes(con, tuesday, by_id=True) == {"new": 2, "changed": 1, "gone": 1}
    assert changes(con, tuesday, by_id=False) == {"new": 3, "changed": None, "gone": 2}
    con.close()


async def test_a_night_resumed_answers_as_an_unbroken_one(tmp_path: Path) -> None:
    path = tmp_path / "l.duckdb"
    ledger = await Ledger.open(path)
    killed = await ledger.ask(lambda con: begin(con, start()))
    seq = await ledger.record(killed.run_no, attempt(1), request(1), "v1")
    resumed = await ledger.ask(lambda con: begin(con, start()))
    ledger.settle(resumed.run_no, Outcome(1, Status.REUSED, key=key(1), seq=seq))
    ledger.settle(resumed.run_no, Outcome(2, Status.REUSED, key=key(1), seq=seq))  # a twin of row 1
    ledger.settle(resumed.run_no, Outcome(3, Status.SKIPPED, failure="bad_row", reason="no JSON"))
    ledger.settle(resumed.run_no, Outcome(4, Status.FAILED, key=key(4), failure="timeout", reason="no answer"))
    lost: dict[str, Any] = {
        "outcome": "timeout",
        "reply": None,
        "cost_usd": None,
        "failure": "timeout",
        "possibly_paid": True,
    }
    await ledger.record(resumed.run_no, attempt(4, **lost), request(4), "v1")
    answers = await ledger.ask(lambda con: answers_between(con, resumed, 0, 100))
    total = await ledger.ask(lambda con: spent(con, (killed.run_no, resumed.run_no)))
    await ledger.close()
    assert {n: a.status for n, a in answers.items()} == {1: "done", 2: "reused", 3: "skipped", 4: "failed"}
    assert [answers[n].cost_usd for n in (1, 2, 3, 4)] == [Decimal("0.000012"), 0, None, 0]
    assert answers[1].model == "m-1"
    assert total == (Decimal("0.000012"), 0)


async def test_what_each_prompt_version_cost_and_the_reports_before(tmp_path: Path) -> None:
    ledger = await Ledger.open(tmp_path / "l.duckdb")
    runs = []
    for version, costs in (("v1", ["0.5", None]), ("v1", ["0.25"]), ("v2", []), ("v2", ["2"])):
        run = await ledger.ask(lambda con, version=version: begin(con, start(version=version)))  # type: ignore[misc]
        for n, cost in enumerate(costs):
            known = None if cost is None else Decimal(cost)
            await ledger.record(run.run_no, attempt(n, cost_usd=known), request(n), version)
        runs.append(run)
        if len(runs) != 3:  # the third was killed
            await ledger.ask(lambda con, run=run: finish(con, run, "finished"))  # type: ignore[misc]
    bills = await ledger.ask(lambda con: spent_by_version(con, 5))
    assert [(b.version, b.runs, b.answers, b.dollars, b.unpriced) for b in bills] == [
        ("v2", 2, 1, 2, 0), ("v1", 2, 3, Decimal("0.75"), 1),
    ]  # fmt: skip
    assert len(await ledger.ask(lambda con: spent_by_version(con, 1))) == 1
    before = await ledger.ask(lambda con: reports_before(con, runs[3], 30))
    assert [run_id for run_id, _ in before] == [runs[1].run_id, runs[0].run_id]
    assert len(await ledger.ask(lambda con: reports_before(con, runs[3], 1))) == 1
    await ledger.close()
