"""What the commands that only look share: their exit status, and the ledger for a moment."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from llmbatch.errors import LedgerLocked, StorageError, UsageError

if TYPE_CHECKING:
    import duckdb

EXIT_STATUS = """EXIT STATUS

0 shown
1 fault in llmbatch
2 mistake in usage, or nothing to show
74 the ledger cannot be read
75 a run holds the ledger"""


@contextmanager
def reading(path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """The ledger, for a moment. Raises UsageError when there is none, LedgerLocked while a run holds it."""
    from llmbatch.ledger import connect

    if not path.exists():
        raise UsageError(f"there is no ledger at {path}", hint="run the pipeline first, or name the file with --ledger")
    try:
        con = connect(path)
    except StorageError as error:
        if "lock" in error.message:
            raise LedgerLocked(
                "a run holds the ledger", hint="`llmbatch status` works meanwhile; this does when the run has ended"
            ) from None
        raise
    try:
        yield con
    finally:
        con.close()
