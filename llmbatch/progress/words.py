"""Numbers as a person at a terminal wants them: short and calm."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import ROUND_UP, Decimal

from llmbatch.tally import BatchState


def printable(text: str) -> str:
    """Text in one line, without what a terminal would obey."""
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())


def short(number: int) -> str:
    """812, 1.2k, 45k, 3.4M, 1.2B."""
    for unit, size in (("B", 10**9), ("M", 10**6), ("k", 10**3)):
        if number >= size:
            scaled = number / size
            return f"{scaled:.1f}{unit}" if scaled < 9.95 else f"{scaled:,.0f}{unit}"
    return str(number)


def left(seconds: float) -> str:
    """A rough time to go: 8 s, 50 s, 3 min, 1 h 20 min, 2 days. Coarse, so that it stands still."""
    if seconds < 10:
        return f"{seconds:.0f} s"
    if seconds < 95:
        return f"{round(seconds / 5) * 5} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    minutes = round(minutes / 5) * 5
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    return f"{round(minutes / 60 / 24)} days"


def rate(rows_per_s: float) -> str:
    """1,234 rows/s, 62 rows/s, 6.2 rows/s, 0.05 rows/s."""
    places = 0 if rows_per_s >= 10 else 1 if rows_per_s >= 1 else 2
    return f"{rows_per_s:,.{places}f} rows/s"


def batches(states: Sequence[BatchState]) -> str:
    """2 batches, 1,200 of 5,000 requests done there."""
    done = sum(state.completed + state.failed for state in states)
    many = f"{len(states):,} batch{'' if len(states) == 1 else 'es'}"
    return f"{many}, {done:,} of {sum(state.requests for state in states):,} requests done there"


def dollars(usd: Decimal | None) -> str:
    """$1,234.50, $0.0123, $?"""
    if usd is None:
        return "$?"
    return f"${usd:,.2f}" if usd >= 100 or usd == 0 else f"${usd:.4f}"


def round_dollars(usd: Decimal) -> str:
    """A forecast: two figures, rounded up, so that it stands still and is not below the spent: $0.32, $1.20, $13."""
    if usd < Decimal("0.0001"):
        return "$0.0001"
    figures = usd.quantize(Decimal(1).scaleb(usd.adjusted() - 1), ROUND_UP)
    places = max(2, 1 - usd.adjusted()) if usd < 10 else 0
    return f"${figures:,.{places}f}"
