"""What is measured of a side, and the lines of a table."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, isinf

from tests.bench.sides import Rows, Side, user

_BACK = 0.9
_OVER_S = 5.0  #: seconds over which a speed is taken
_LEAST_FAIR_S = 1.0  #: below, a wait is no wait


@dataclass(frozen=True, slots=True)
class Line:
    """One measure; ``met`` is None where nothing is aimed at."""

    name: str
    target: str
    ours: float
    theirs: float | None
    met: bool | None

    def __str__(self) -> str:
        verdict = {True: "  pass", False: "  FAIL", None: ""}[self.met]
        theirs = "-" if self.theirs is None else _number(self.theirs)
        return f"  {self.name:<62}{self.target:>10}{_number(self.ours):>12}{theirs:>12}{verdict}"


def _number(value: float) -> str:
    return "never" if isinf(value) else f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.0f}"


def at_least(name: str, target: float, ours: float, theirs: float | None) -> Line:
    """A measure that should be high."""
    return Line(name, f">= {target:g}", ours, theirs, ours >= target)


def at_most(name: str, target: float, ours: float, theirs: float | None) -> Line:
    """A measure that should be low."""
    return Line(name, f"<= {target:g}", ours, theirs, ours <= target)


def shown(name: str, ours: float, theirs: float | None) -> Line:
    """A measure without a target."""
    return Line(name, "", ours, theirs, None)


def throughput(side: Side, from_s: float) -> float:
    """Answered requests a second, from a moment until the last one came in."""
    return side.rate(from_s, side.last_s)


def goodput(side: Side, from_s: float, per_minute: float = 600) -> float:
    """Part of a limit on requests that was used, from a moment until the last one came in."""
    return throughput(side, from_s) * 60 / per_minute


def token_use(side: Side, from_s: float, per_minute: float = 300_000) -> float:
    """Part of a limit on tokens that was used, from a moment until the last request came in."""
    used = sum(seen.tokens for seen in side.seen if from_s <= seen.at_s < side.last_s)
    return used * 60 / per_minute / (side.last_s - from_s) if side.last_s > from_s else 0.0


def longest_wait(side: Side, rows: Rows, per_minute: float = 300_000) -> float:
    """The longest wait of a row until the server took it, as a multiple of its fair wait.

    Fair is the order of the input at the whole limit: the tokens of the rows before it over the limit; at least 1 s.
    Rows that were never answered do not count.
    """
    taken = {seen.user: seen for seen in side.seen if seen.paid}
    before, longest = 0, 0.0
    for row in rows:
        if (seen := taken.get(user(row))) is not None:
            longest = max(longest, seen.at_s / max(before * 60 / per_minute, _LEAST_FAIR_S))
            before += seen.tokens
    return longest


def back_after(side: Side, begin: float, end: float, goal: float | None = None) -> float:
    """Seconds after ``end`` until 5 s follow at 90 % of a goal: answers a second, or those of the 5 s before ``begin``.

    Infinite when that never happens.
    """
    goal = side.rate(begin - _OVER_S, begin) if goal is None else goal
    tenths = range(int((side.last_s - _OVER_S - end) * 10))
    return next((n / 10 for n in tenths if side.rate(end + n / 10, end + n / 10 + _OVER_S) >= _BACK * goal), inf)
