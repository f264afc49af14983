"""The ledger's files beside each other, and how a rebuilt ledger takes the place of the old one."""

from __future__ import annotations

import os
import shutil
from pathlib import Path


def wal_of(path: Path) -> Path:
    """DuckDB's write-ahead log of a database."""
    return path.with_name(path.name + ".wal")


def rebuilt(path: Path) -> Path:
    """The name under which a ledger is rebuilt."""
    return path.with_name(path.name + ".new")


def size_of(path: Path) -> int:
    """Bytes of a file; 0 when it is not there."""
    return path.stat().st_size if path.exists() else 0


def leftovers(path: Path) -> list[Path]:
    """What a killed gc, repair or query leaves behind."""
    new = rebuilt(path)
    names = (path.with_name(path.name + ".spill"), new, wal_of(new), new.with_name(new.name + ".spill"))
    return [name for name in names if name.exists()]


def remove_leftovers(path: Path) -> None:
    """Remove it, with the lock held."""
    for left in leftovers(path):
        if left.is_dir():
            shutil.rmtree(left)
        else:
            left.unlink()


def put_in_place(path: Path) -> None:
    """Let the rebuilt ledger, checkpointed and closed, take the place of ``path`` in one rename. Raises OSError."""
    new = rebuilt(path)
    if size_of(wal_of(new)):
        raise OSError(f"{new} could not be written whole")
    new.chmod(0o600)
    _sync(new, os.O_RDONLY)
    new.replace(path)
    _sync(path.parent, os.O_RDONLY | os.O_DIRECTORY)


def _sync(path: Path, flags: int) -> None:
    number = os.open(path, flags | os.O_CLOEXEC)
    try:
        os.fsync(number)
    finally:
        os.close(number)
