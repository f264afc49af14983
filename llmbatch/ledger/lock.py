"""One run at a time: a lock file of our own beside the ledger.

DuckDB's own lock is dropped when the process that holds it opens and closes the file by path, so it cannot be the
guard. ``flock`` on our file is released by the kernel when its owner dies, however it dies: a stale lock file needs
no hand. On network file systems flock may be local to the host; the ledger belongs on a local disk.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import time
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from llmbatch.errors import LedgerLocked

_POLL_S = 0.5


class Lock:
    """Holds ``<ledger>.lock`` while entered. Its text says who does: pid, host, start."""

    def __init__(self, ledger: Path, *, wait_s: float = 0.0) -> None:
        self._path = ledger.with_name(ledger.name + ".lock")
        self._wait_s = wait_s
        self._file: IO[str] | None = None

    def __enter__(self) -> Self:
        """Take the lock. Raises LedgerLocked when another process holds it for longer than the wait."""
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        give_up = time.monotonic() + self._wait_s
        file = os.fdopen(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), "r+", encoding="utf-8")
        while not _try_lock(file):
            if time.monotonic() >= give_up:
                owner = _owner(file)
                file.close()
                raise LedgerLocked(
                    f"another run holds the ledger: {owner}",
                    hint="wait for it (--wait), or look at it with `llmbatch status`",
                )
            time.sleep(min(_POLL_S, max(give_up - time.monotonic(), 0.01)))
        file.seek(0)
        file.truncate()
        started = datetime.now(UTC).isoformat(timespec="seconds")
        json.dump({"pid": os.getpid(), "host": socket.gethostname(), "started_at": started}, file)
        file.flush()
        self._file = file
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let go. The file stays: removing it would let two owners lock two files of one name."""
        if self._file is not None:
            self._file.truncate(0)
            self._file.close()
            self._file = None


def _try_lock(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _owner(file: IO[str]) -> str:
    file.seek(0)
    try:
        owner = json.loads(file.read())
        return f"pid {owner['pid']} on {owner['host']}, since {owner['started_at']}"
    except (ValueError, KeyError, TypeError):
        return "its owner is just starting or ending"
