"""How a deadline was met, in words: decisions, what the discount was worth, what was paid twice."""

from __future__ import annotations

from collections.abc import Iterator

from llmbatch.report import words
from llmbatch.report.details import Decision, Schedule
from llmbatch.report.tables import Cell, Row
from llmbatch.report.words import count, number_of, usd


def lines(schedule: Schedule) -> Iterator[str]:
    """A line for the whole, and one for each decision."""
    yield summary(schedule)
    for one in schedule.decisions:
        yield f"{_when(one)}: {_what(one)}, {number_of(one.rows_left, 'row')} left: {words.plain(one.reason)}"


def summary(schedule: Schedule) -> str:
    """``due 06:00Z, met; the discount was worth $1.20; 12 rows paid twice for $0.01``."""
    met = {True: "met", False: "not met", None: "open"}[schedule.met]
    parts = [f"due {schedule.deadline}, {met}"]
    if schedule.discount_usd is not None:
        parts.append(f"the discount was worth {usd(schedule.discount_usd)}")
    if schedule.paid_twice:
        parts.append(f"{number_of(schedule.paid_twice, 'row')} paid twice, for {usd(schedule.paid_twice_usd)}")
    if schedule.may_be_paid_twice:
        more = number_of(schedule.may_be_paid_twice, "more row" if schedule.paid_twice else "row")
        parts.append(f"up to {more} may be paid twice, in batches that are still being cancelled")
    return "; ".join(parts)


def table(schedule: Schedule | None) -> list[Row]:
    """The decisions, for the page."""
    if schedule is None:
        return []
    return [
        [Cell(_when(one), one.at), Cell(_what(one), words.plain(one.reason)), Cell(count(one.rows_left))]
        for one in schedule.decisions
    ]


def _when(one: Decision) -> str:
    return f"after {words.duration(one.at_s)}" if one.at_s >= 0 else f"{words.duration(-one.at_s)} before this run"


def _what(one: Decision) -> str:
    if one.measures:
        return f"{one.tier}, to measure"
    if one.cancels_batches:
        return f"{one.tier}, batches cancelled"
    return f"{one.tier}, and {count(one.beside)} live" if one.beside else one.tier
