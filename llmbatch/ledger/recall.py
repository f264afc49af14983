"""What served last night's rows, found by row number: a row that is still there needs no look-up among all keys.

A look-up by key reads every stored key, however few are asked for: 0.3 s for 2,000 keys among a million, where this
reads the rows' own part of two tables, in 8 ms, however many are stored.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median_low

import duckdb

from llmbatch.ledger.known import stored_reply
from llmbatch.ledger.parts import raw_in_parts
from llmbatch.ledger.statements import statements
from llmbatch.types import Reply

_MARGIN = 64  #: rows that are looked at beyond those asked for, so that a few that came or went do no harm
_SAMPLE = 8  #: keys by which the rows are found again after many came or went
_MOST_PAUSED = 64  #: chunks after which that is tried again, at most


class Recall:
    """Replies by row number. To be used in one thread, that of the ledger.

    It answers only for keys that have one reply and nothing else, so what it says is all that is known of them.
    Rows may be some places from where they were: how many is learnt from those that were found.
    """

    def __init__(self, run_nos: Sequence[int], *, simulated: bool) -> None:
        """Take the runs to look at: last night's, and those that this one goes on with."""
        self._runs = list(run_nos)
        self._simulated = simulated
        self._ready = False
        self._moved = 0  #: rows that were before these and are not any more
        self._paused = self._pause = 0

    def replies(self, con: duckdb.DuckDBPyConnection, rows: Sequence[tuple[int, str]]) -> dict[str, Reply]:
        """By key, of some (row_no, key) in order of row_no. Many that are stored may be missing."""
        if not self._runs or not rows or rows[0][0] < 0:
            return {}  # gold rows have no outcomes
        if not self._ready:
            con.execute(statements()["keys_of_many"])
            self._ready = True
        found = self._at(con, rows)
        if len(found) < len(rows) // 2 and self._find_again(con, [row for row in rows if row[1] not in found]):
            found = self._at(con, rows)
            self._pause = 0 if found else self._pause
        return found

    def _at(self, con: duckdb.DuckDBPyConnection, rows: Sequence[tuple[int, str]]) -> dict[str, Reply]:
        wanted = {key: row_no for row_no, key in rows}
        low, high = rows[0][0] + self._moved - _MARGIN, rows[-1][0] + self._moved + _MARGIN
        found: dict[str, Reply] = {}
        stored = con.execute(statements()["recalled"], [self._runs, low, high, self._simulated]).fetchall()
        long = raw_in_parts(con, [seq for _, _, seq, *_, raw in stored if raw is None])
        for key, was_no, seq, number, status, latency_ms, cost, raw in stored:
            if (row_no := wanted.get(key)) is not None:
                self._moved = was_no - row_no
                text = long[seq] if raw is None else raw
                found[key] = stored_reply(text, seq, number, status, latency_ms, cost)
        return found

    def _find_again(self, con: duckdb.DuckDBPyConnection, rows: Sequence[tuple[int, str]]) -> bool:
        """Look for some rows among all of those nights; after each failure less often."""
        if self._paused < self._pause:
            self._paused += 1
            return False
        self._paused, self._pause = 0, min(max(1, self._pause * 2), _MOST_PAUSED)
        sample = {key: row_no for row_no, key in rows[:: max(1, len(rows) // _SAMPLE)]}
        places = con.execute(statements()["places_of"], [self._runs, list(map(bytes.fromhex, sample))]).fetchall()
        if not places:
            return False
        moved = median_low(was_no - sample[key] for key, was_no in places)
        known_already, self._moved = moved == self._moved, moved
        return not known_already
