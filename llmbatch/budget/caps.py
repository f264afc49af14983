"""What may be spent: a cap for the run, for the day, for the month; and what counts against each."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from decimal import Decimal

from llmbatch.errors import BudgetReached

Span = tuple[float, float]  #: beginning and end, in seconds since the epoch


def day_of(now: float) -> Span:
    """The calendar day of a moment, in the machine's time zone (TZ); 23 or 25 hours where its clocks change."""
    today = time.localtime(now)
    return _midnight(*today[:3]), _midnight(today.tm_year, today.tm_mon, today.tm_mday + 1)


def month_of(now: float) -> Span:
    """The calendar month of a moment, in the machine's time zone."""
    today = time.localtime(now)
    return _midnight(today.tm_year, today.tm_mon, 1), _midnight(today.tm_year, today.tm_mon + 1, 1)


def _midnight(year: int, month: int, day: int) -> float:
    """A local midnight; the 32nd of January is the 1st of February."""
    return time.mktime((year, month, day, 0, 0, 0, 0, 0, -1))


@dataclass(slots=True)
class Cap:
    """So many dollars, for a run or for a span of the calendar. ``spent`` counts earlier runs, and then this one."""

    usd: Decimal
    spent: Decimal
    words: str = "budget"
    hint: str = "run the same command with a larger --budget to go on; nothing that is stored is paid again"
    span_of: Callable[[float], Span] | None = None  #: None: it holds for the run
    ends_at: float = float("inf")

    def renew(self, now: float) -> None:
        """Begin a new day or month, with nothing spent."""
        if self.span_of is not None and now >= self.ends_at:
            self.spent, self.ends_at = Decimal(0), self.span_of(now)[1]


class Caps:
    """All caps of a run. A call belongs to the day and the month in which its cost became known, or later to none:
    what is reserved at midnight counts in both days."""

    def __init__(self, caps: Iterable[Cap], clock: Callable[[], float] = time.time) -> None:
        self._caps = tuple(caps)
        self._clock = clock
        self.by_batches = Decimal(0)  #: what the batches of this run cost
        self.held = Decimal(0)  #: what batches may yet cost that go on while calls are made

    @property
    def left(self) -> Decimal:
        """Dollars that may still be spent, by the tightest cap."""
        self._renew()
        return min(cap.usd - cap.spent for cap in self._caps) - self.held

    def add(self, dollars: Decimal, *, by_batches: bool = False) -> None:
        """Count what was spent."""
        self._renew()
        self.by_batches += dollars if by_batches else 0
        for cap in self._caps:
            cap.spent += dollars

    def reached(self, amount: Decimal) -> BudgetReached:
        """Why no further call goes: for the tightest cap, with the dollars that the next one may cost."""
        cap = min(self._caps, key=lambda cap: cap.usd - cap.spent)
        return BudgetReached(
            f"{cap.words} reached: ${cap.spent:.4f} of ${cap.usd} spent, and the next request may cost ${amount:.4f}",
            hint=cap.hint,
        )

    def _renew(self) -> None:
        now = self._clock()
        for cap in self._caps:
            cap.renew(now)
