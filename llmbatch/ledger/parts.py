"""Texts too long for a field, stored in parts: a checkpoint is short only where row groups are (see schema.py)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import duckdb

from llmbatch.ledger.statements import statements

PART = 4_096  #: characters in a field or a part; schema_2 of ledger.sql says the same


def parts(text: str) -> Iterator[str]:
    """The text, cut."""
    return (text[start : start + PART] for start in range(0, len(text), PART))


def raw_in_parts(con: duckdb.DuckDBPyConnection, seqs: Sequence[int]) -> dict[int, str]:
    """The raw replies that are stored in parts, by the ``seq`` of their attempt."""
    if not seqs:
        return {}
    return dict(con.execute(statements()["raw_in_parts"], [seqs]).fetchall())
