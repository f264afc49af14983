"""What counts against a budget after a run has ended, however it ended."""

from dataclasses import replace
from decimal import Decimal
from pathlib import Path

from llmbatch.ledger import Ledger, begin, bills, charged, collect, draw, end
from llmbatch.types import Attempt
from tests.ledger.conftest import attempt, request, start

CENT = Decimal("0.01")


def worst_case(user_bytes: int, reasked: bool) -> Decimal:
    """A cent a byte, and a dollar for a re-ask."""
    return user_bytes * CENT + reasked


def lost(n: int, number: int = 1) -> Attempt:
    return replace(attempt(n, number=number), outcome="timeout", reply=None, cost_usd=None, possibly_paid=True)


async def a_run(path: Path, *attempts: Attempt, draws: tuple[str, ...] = (), finished: bool = False) -> None:
    ledger = await Ledger.open(path)
    run = await ledger.ask(lambda con: begin(con, start()))
    if finished:
        await ledger.ask(lambda con: end(con, run, ended_at=2e9, status="finished", exit_code=0, report="{}"))
    for each in attempts:
        await ledger.record(run.run_no, each, request(int(each.key, 16)), "v1")
    for number, usd in enumerate(draws, 1):
        await ledger.ask(lambda con, n=number, usd=usd: draw(con, run.run_no, n, Decimal(usd)))  # type: ignore[misc]
    await ledger.close()


async def ask(path: Path, **which: object) -> Decimal:
    ledger = await Ledger.open(path)
    found = await ledger.ask(lambda con: bills(con, **which))  # type: ignore[arg-type]
    await ledger.close()
    return charged(found, worst_case)


async def test_attempts_that_may_be_billed_count_at_their_worst_case(tmp_path: Path) -> None:
    """Without a budget a run stores no draws: what its lost attempts can cost is worked out from their requests."""
    path = tmp_path / "l.duckdb"
    await a_run(path, attempt(1, cost_usd=CENT), lost(2), lost(333), attempt(4, cost_usd=None))
    assert await ask(path, runs=[1]) == CENT + 3 * len(b"row 333") * CENT
    await a_run(path, lost(2, number=2))
    assert await ask(path, runs=[2]) == len(b"row 2") * CENT + 1
    assert await ask(path) == await ask(path, runs=[1]) + await ask(path, runs=[2])
    assert await ask(path, runs=[]) == 0


async def test_a_message_that_is_stored_in_parts_counts_whole(tmp_path: Path) -> None:
    ledger = await Ledger.open(tmp_path / "l.duckdb")
    run = await ledger.ask(lambda con: begin(con, start()))
    long = replace(request(2), messages=({"role": "user", "content": "é" * 10_000},))
    await ledger.record(run.run_no, lost(2), long, "v1")
    await ledger.close()
    assert await ask(tmp_path / "l.duckdb", runs=[1]) == 20_000 * CENT


async def test_a_run_with_a_budget_counts_for_what_it_may_have_spent_in_the_end(tmp_path: Path) -> None:
    """So a run that was killed counts for what was in flight, and one that ended for what it settled."""
    path = tmp_path / "l.duckdb"
    await a_run(path, attempt(1, cost_usd=CENT), lost(2), draws=("5", "9"))
    assert await ask(path, runs=[1]) == 9
    await a_run(path, attempt(1, cost_usd=CENT), lost(2), draws=("5", "9", "0.06"))
    assert await ask(path, runs=[2]) == Decimal("0.06")
    await a_run(path, draws=("1", *["2"] * 9, "3"))  # numbers are compared, not words
    assert await ask(path, runs=[3]) == 3


async def test_a_day_counts_the_attempts_of_that_day(tmp_path: Path) -> None:
    path = tmp_path / "l.duckdb"
    await a_run(path, attempt(1, cost_usd=CENT, asked_at=1_700_000_000.0), attempt(2, cost_usd=CENT, asked_at=2e9))
    assert await ask(path, since=1_800_000_000.0) == CENT
    assert await ask(path, since=1_600_000_000.0) == 2 * CENT
    assert await ask(path, since=3e9) == 0


async def test_what_gc_drops_stays_on_the_bill(tmp_path: Path) -> None:
    path = tmp_path / "l.duckdb"
    await a_run(path, attempt(1, cost_usd=CENT), draws=("0.01",), finished=True)
    await a_run(path, attempt(2, cost_usd=CENT), draws=("0.01",), finished=True)
    assert collect(path, 1).after["attempts"] == 1
    assert await ask(path) == 2 * CENT
