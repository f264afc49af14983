"""DuckDB's errors as StorageError, wherever the ledger is read or written."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import duckdb

from llmbatch.errors import StorageError

FREE_SPACE = "free some space or mend the disk, then run the same command again: what was stored is kept"


@contextmanager
def storage_faults() -> Iterator[None]:
    """Within, or decorating a function: a fault of DuckDB becomes StorageError."""
    try:
        yield
    except duckdb.Error as error:
        raise storage_error("the ledger could not be used", error) from error


def storage_error(what: str, error: Exception) -> StorageError:
    """``what`` happened because of ``error``: the first line of its words is said, the rest is DuckDB's own trace."""
    return StorageError(f"{what}: {first_line(error)}", hint=FREE_SPACE)


def first_line(error: Exception) -> str:
    """What an error says, without the stack that DuckDB adds to it."""
    return (str(error).splitlines() or [type(error).__name__])[0]
