"""One run at a time: a lock file of our own beside the ledger.

DuckDB's own lock is dropped when the process that holds it opens and closes the file by path, so it cannot be the
guard. ``flock`` on our file is released by the kernel when its owner dies, however it dies: a stale lock file needs
no hand. On network file systems flock may be local to the host; the ledger belongs on a local disk.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import time
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

import orjson

from llmbatch.errors import LedgerLocked, StorageError

_POLL_S = 0.5


class Lock:
    """Holds ``<ledger>.lock`` while entered. Its text says who does: pid, host, start."""

    def __init__(self, ledger: Path, *, wait_s: float = 0.0) -> None:
        self._path = ledger.with_name(ledger.name + ".lock")
        self._wait_s = wait_s
        self._file: int | None = None
        self.died: str | None = None  #: who held it last, if that process ended without letting go

    def __enter__(self) -> Self:
        """Take the lock.

        Raises LedgerLocked when another process holds it for longer than the wait, StorageError when its file cannot
        be made.
        """
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StorageError(
                f"cannot make the lock file {self._path}: {error.strerror}",
                hint="free some space, or mend the folder's permissions, then run the same command again",
            ) from error
        try:
            self._wait(file)
        except BaseException:
            os.close(file)
            raise
        self.died = _owner(file)
        _sign(file)
        self._file = file
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let go. The file stays: removing it would let two owners lock two files of one name."""
        if self._file is not None:
            os.ftruncate(self._file, 0)
            os.close(self._file)
            self._file = None

    def _wait(self, file: int) -> None:
        give_up = time.monotonic() + self._wait_s
        while not _try_lock(file):
            if time.monotonic() >= give_up:
                raise LedgerLocked(
                    f"another run holds the ledger: {_owner(file) or 'its owner is just starting or ending'}",
                    hint="wait for it (--wait), or look at it with `llmbatch status`",
                )
            time.sleep(min(_POLL_S, max(give_up - time.monotonic(), 0.01)))


def _try_lock(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _sign(file: int) -> None:
    """Write who holds the lock, for people: on a full disk it is held all the same. Close the file to others."""
    started = datetime.now(UTC).isoformat(timespec="seconds")
    owner = {"pid": os.getpid(), "host": socket.gethostname(), "started_at": started}
    with contextlib.suppress(OSError):  # the file may be of another user of a group that shares the ledger
        os.fchmod(file, 0o600)
    with contextlib.suppress(OSError):
        os.ftruncate(file, 0)
        os.pwrite(file, orjson.dumps(owner), 0)


def _owner(file: int) -> str | None:
    try:
        owner = orjson.loads(os.pread(file, 4096, 0))
        return f"pid {owner['pid']} on {owner['host']}, since {owner['started_at']}"
    except (ValueError, KeyError, TypeError):
        return None
