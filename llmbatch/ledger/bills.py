"""What counts against a budget: the bills of runs, with what they may have spent that no answer told."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal

import duckdb

from llmbatch.ledger.faults import storage_faults
from llmbatch.ledger.statements import statements


@dataclass(frozen=True, slots=True)
class Bill:
    """One run's."""

    run_no: int
    since_usd: Decimal  #: its priced attempts within the span that was asked for
    usd: Decimal  #: all its priced attempts
    drawn_usd: Decimal | None  #: what it may have spent at most, by its last word; None when it had no budget
    open: int  #: attempts that may cost beside: possibly paid, or answered without a known price
    longest_bytes: int  #: the longest user message among those; 0 where ``drawn_usd`` tells enough
    reasked: bool  #: whether one of them was a re-ask


@storage_faults()
def bills(con: duckdb.DuckDBPyConnection, *, runs: Sequence[int] | None = None, since: float = 0.0) -> list[Bill]:
    """The bills of these runs (None: of all) that began or asked since a moment, in seconds since the epoch."""
    parameters = {"runs": None if runs is None else list(runs), "since": int(since * 1e6)}
    found = con.execute(statements()["bills"], parameters).fetchall()
    return [_bill(con, *row) for row in found]


@storage_faults()
def draw(con: duckdb.DuckDBPyConnection, run_no: int, number: int, usd: Decimal) -> None:
    """Store what a run may have spent so far at most. ``number`` counts the run's draws; the last one holds."""
    con.execute(statements()["draw"], [f"{run_no} {number} {usd:.12f}"])


def charged(some: Sequence[Bill], worst_case: Callable[[int, bool], Decimal]) -> Decimal:
    """Dollars that bills count for, at the most that they can be.

    That is: the priced attempts of the span, and beside them what the run's last draw allows; for a run without draws
    (it had no budget) the worst case of each attempt that may cost beside, at the size of the longest.
    """
    return sum((bill.since_usd + _beside(bill, worst_case) for bill in some), Decimal(0))


def _beside(bill: Bill, worst_case: Callable[[int, bool], Decimal]) -> Decimal:
    if bill.drawn_usd is not None:
        return max(Decimal(0), bill.drawn_usd - bill.usd)
    return bill.open * worst_case(bill.longest_bytes, bill.reasked) if bill.open else Decimal(0)


def _bill(
    con: duckdb.DuckDBPyConnection, run_no: int, since_usd: Decimal, usd: Decimal, drawn: Decimal | None, count: int
) -> Bill:
    longest, reasked = 0, False
    if count and drawn is None:
        longest, reasked = con.execute(statements()["longest_open"], [run_no]).fetchone() or (0, False)
    return Bill(run_no, Decimal(since_usd), Decimal(usd), drawn, count, longest, reasked)
