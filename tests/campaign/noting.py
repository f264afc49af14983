"""llmbatch that notes every commit as soon as it is durable: what a kill may not take.

    NOTES=FILE [CHECKPOINT=512KB] python -m tests.campaign.noting run PIPELINE ...

A line a commit, numbers apart by blanks: the last attempt's ``seq``; when the commit began (nanoseconds, monotonic);
how old its oldest answer was when it was durable (microseconds, from its arrival on); how many bytes the ledger's
write-ahead log has now. What the log has beyond that is of a commit that nobody was told of.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb

from llmbatch.cli import main
from llmbatch.ledger import schema
from llmbatch.ledger.files import wal_of
from llmbatch.ledger.statements import statements

_open_file = schema.open_file


class Noting:
    """A connection to the ledger."""

    def __init__(self, con: duckdb.DuckDBPyConnection, path: Path) -> None:
        self._con, self._wal = con, wal_of(path)
        self._notes = os.open(os.environ["NOTES"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        self._seq = 0
        self._began = 0
        self._arrived_us = 0  # of the oldest answer that is not durable

    def __getattr__(self, name: str) -> Any:
        return getattr(self._con, name)

    def execute(self, query: str, parameters: Any = None) -> duckdb.DuckDBPyConnection:
        if query == "begin":
            self._began = time.monotonic_ns()
        result = self._con.execute(query, parameters)
        if query == statements()["insert_attempts"]:
            self._seq = parameters[0][-1]
            self._arrived_us = min(asked_us + int(1e3 * ms) for asked_us, ms in zip(*parameters[5:7], strict=True))
        elif query == "commit":
            age_us = time.time_ns() // 1_000 - self._arrived_us if self._arrived_us else 0
            self._arrived_us = 0
            size = self._wal.stat().st_size if self._wal.exists() else 0
            os.write(self._notes, b"%d %d %d %d\n" % (self._seq, self._began, age_us, size))
        return result


def open_file(path: Path, **more: Any) -> Noting:
    return Noting(_open_file(path, **more), path)


def run(argv: Sequence[str]) -> int:
    schema.open_file = open_file  # type: ignore[assignment]
    if threshold := os.environ.get("CHECKPOINT"):
        schema._CHECKPOINT = threshold
    return main(argv)


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
