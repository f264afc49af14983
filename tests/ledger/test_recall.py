"""Replies by row number: what is found so is all that a look-up by key would find, and no other."""

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import duckdb
import pytest

from llmbatch.ledger import Known, Recall, connect, known
from llmbatch.ledger.writer import Recorded, insert_attempts, insert_outcomes
from llmbatch.types import Outcome, Status
from tests.ledger.conftest import attempt, body, key, request

ROWS = 5_000


@pytest.fixture(scope="module")
def con(tmp_path_factory: pytest.TempPathFactory) -> duckdb.DuckDBPyConnection:
    """Run 1 got as far as row 2,999 and run 2, which goes on with it, to row 99; run 0 was the night before."""
    con = connect(tmp_path_factory.mktemp("recall") / "l.duckdb")
    answered = [attempt(n, cost_usd=Decimal(n) / 1000) for n in range(ROWS)]
    answered[7] = attempt(7, raw=body("x" * 5_000))
    answered[8] = replace(answered[8], outcome="rejected", reply=None, failure="context_length", reason="too long")
    answered[9] = replace(answered[9], outcome="timeout", reply=None, failure="timeout", reason="no answer")
    answered += [attempt(10, number=2), attempt(9, number=2)]
    insert_attempts(con, 1, [Recorded(0, a, request(int(a.key, 16)), "v1") for a in answered])
    for run_no, rows in ((0, range(ROWS)), (1, range(3_000)), (2, range(100))):
        served = [Outcome(n, Status.REUSED, key=key(n), seq=None if n in (8, 9) else n + 1) for n in rows]
        insert_outcomes(con, [(run_no, outcome) for outcome in served])
    return con


def _asked(row_nos: Sequence[int], moved: int = 0) -> list[tuple[int, str]]:
    """Rows that were ``moved`` places further on."""
    return [(n, key(n + moved)) for n in row_nos]


def _agrees(con: duckdb.DuckDBPyConnection, recall: Recall, rows: list[tuple[int, str]]) -> list[int]:
    """The row numbers that were found, each as a look-up by key finds it."""
    found = recall.replies(con, rows)
    looked_up = known(con, found)
    assert looked_up == {key: Known([reply]) for key, reply in found.items()}
    return [row_no for row_no, key in rows if key in found]


def test_rows_are_found_where_they_were(con: duckdb.DuckDBPyConnection) -> None:
    recall = Recall((0,), simulated=True)
    with_one_reply = [n for n in range(2_000) if n not in (8, 9, 10)]
    assert _agrees(con, recall, _asked(range(2_000))) == with_one_reply
    assert _agrees(con, recall, _asked(range(2_000, ROWS))) == list(range(2_000, ROWS))


def test_runs_that_are_gone_on_with_and_the_night_before_complete_each_other(con: duckdb.DuckDBPyConnection) -> None:
    recall = Recall((1, 2, 0), simulated=True)
    assert _agrees(con, recall, _asked(range(50, 3_500))) == list(range(50, 3_500))
    assert _agrees(con, Recall((1, 2), simulated=True), _asked(range(2_900, 3_500))) == list(range(2_900, 3_000))


@pytest.mark.parametrize("moved", [1, -40, 1_500, -700])
def test_rows_are_found_again_that_moved(con: duckdb.DuckDBPyConnection, moved: int) -> None:
    recall = Recall((0,), simulated=True)
    there = range(2_000, 2_500)
    assert _agrees(con, recall, _asked(there, moved)) == list(there)
    assert _agrees(con, recall, _asked(range(2_500, 3_000), moved)) == list(range(2_500, 3_000))


def test_rows_that_came_and_went_one_by_one_are_followed(con: duckdb.DuckDBPyConnection) -> None:
    """Every eighth row is gone: 600 places over the whole, 71 within a chunk."""
    recall = Recall((0,), simulated=True)
    left = [n for n in range(11, ROWS) if n % 8]
    rows = [(row_no, key(n)) for row_no, n in enumerate(left)]
    found = [row_no for at in range(0, len(rows), 500) for row_no in _agrees(con, recall, rows[at : at + 500])]
    assert len(found) > 0.9 * len(rows)


def test_other_rows_are_found_nowhere_and_looked_for_ever_more_rarely(con: duckdb.DuckDBPyConnection) -> None:
    recall = Recall((0,), simulated=True)
    for _ in range(6):
        assert recall.replies(con, [(n, key(ROWS + n)) for n in range(100)]) == {}
    assert recall._pause == 4


def test_nothing_is_recalled_where_there_was_no_night(con: duckdb.DuckDBPyConnection) -> None:
    assert Recall((), simulated=True).replies(con, _asked(range(10))) == {}
    assert Recall((0,), simulated=True).replies(con, [(-1, key(1)), (-2, key(2))]) == {}  # gold rows


def test_what_the_simulator_replied_is_left_out_of_a_real_night(tmp_path: Path) -> None:
    con = connect(tmp_path / "l.duckdb")
    simulated = attempt(1)
    assert simulated.reply is not None
    simulated = replace(simulated, reply=replace(simulated.reply, fingerprint="fp_simulator"))
    insert_attempts(con, 1, [Recorded(1, a, request(a.row_no), "v1") for a in (attempt(0), simulated)])
    insert_outcomes(con, [(1, Outcome(n, Status.DONE, key=key(n), seq=n + 1)) for n in range(2)])
    assert set(Recall((1,), simulated=True).replies(con, _asked(range(2)))) == {key(0), key(1)}
    assert set(Recall((1,), simulated=False).replies(con, _asked(range(2)))) == {key(0)}
