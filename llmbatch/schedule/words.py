"""Spans and rows, for reasons."""

from __future__ import annotations


def span(seconds: float) -> str:
    """42 s, 7 min, 2 h 07 min."""
    if seconds < 99.5:
        return f"{seconds:.3g} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def rows_of(count: int) -> str:
    """1 row, 2 rows."""
    return f"{count:,} row{'' if count == 1 else 's'}"
