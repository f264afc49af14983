"""Results in files that a worker appends to, and closes after a time or at a size.

The open file ends in ``.part`` and is locked by its worker. A line is synced before its message is acknowledged; a
worker that is killed between the two leaves a line whose message comes again, to it or to another worker of the same
folder, which finds the line and does not write it twice.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import orjson

from llmbatch.atomic import private_folder
from llmbatch.errors import StorageError
from llmbatch.intake.message import Fate, Message, Settlement
from llmbatch.intake.results import ID_COLUMN

_PART = ".part"
_TAIL = 4 * 2**20  #: bytes at a file's end that are looked through: more than can be unacknowledged
_RECENT_S = 6 * 3600.0  #: files that were written to more recently are looked through
_MOST_FILES = 8


class Written(NamedTuple):
    """What the line of a message says of it."""

    dead: bool
    reason: str | None


class _Tail(NamedTuple):
    """What the end of a file says, from one byte to before another; both begin a line, as far as one is known."""

    start: int
    end: int
    lines: dict[str, Written]


class Files:
    """The results files of one worker. Not for several threads at once."""

    def __init__(
        self, folder: Path, *, roll_bytes: int, roll_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._folder = folder
        self._roll_bytes, self._roll_s, self._clock = roll_bytes, roll_s, clock
        self._name = f"results-{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{os.getpid()}"
        self._number = 0
        self._file: int | None = None
        self._path = folder
        self._size, self._opened_at = 0, 0.0
        self._unsure: dict[str, Written] = {}  # not known to be acknowledged
        self._tails: dict[Path, _Tail] = {}

    def close_left(self) -> None:
        """Close what killed workers left open. Raises StorageError."""
        try:
            private_folder(self._folder)
            for part in sorted(self._folder.glob(f"*{_PART}")):
                _close_left(part)
        except OSError as error:
            raise _storage_error(self._folder, error) from error

    def written(self, messages: Sequence[Message]) -> dict[str, Written]:
        """By id: what the results of those that are delivered again say, as far as they are there."""
        named = [message for message in messages if message.named]
        found = {message.id: self._unsure[message.id] for message in named if message.id in self._unsure}
        again = {message.id for message in named if message.deliveries > 1} - found.keys()
        if again:  # the folder is looked through once for all of them
            for lines in reversed(self._recent()):
                found |= {name: lines[name] for name in again if name in lines}
        return found

    def write(self, results: Sequence[tuple[Settlement, bytes]]) -> None:
        """Append results, and sync. Raises StorageError; then the file holds none of them."""
        if not results:
            return
        try:
            file = self._file if self._file is not None else self._begin()
            lines = b"".join(line for _, line in results)
            try:
                _write_all(file, lines)
                os.fdatasync(file)
            except OSError:
                os.ftruncate(file, self._size)
                raise
        except OSError as error:
            raise _storage_error(self._folder, error) from error
        self._size += len(lines)
        for each, _ in results:
            self._unsure[each.message.id] = Written(each.fate is Fate.DEAD, each.reason)

    def acknowledged(self, messages: Sequence[Message]) -> None:
        """Their messages will not come again."""
        for message in messages:
            self._unsure.pop(message.id, None)

    def roll(self) -> None:
        """Close the file if it is large or old enough. Raises StorageError."""
        if self._file is not None and (
            self._size >= self._roll_bytes or self._clock() - self._opened_at >= self._roll_s
        ):
            self.close()

    def close(self) -> None:
        """Give the file its name, and those of workers that were killed meanwhile. Raises StorageError."""
        self.close_left()
        file, self._file = self._file, None
        if file is None:
            return
        try:
            self._path.rename(self._path.with_suffix(""))
            os.close(file)
        except OSError as error:
            raise _storage_error(self._folder, error) from error

    def _begin(self) -> int:
        private_folder(self._folder)
        self._number += 1
        self._path = self._folder / f"{self._name}-{self._number:05}.jsonl{_PART}"
        file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._file, self._size, self._opened_at = file, 0, self._clock()
        return file

    def _recent(self) -> list[dict[str, Written]]:
        """Lines by id at the ends of the newest files, this worker's open one aside."""
        found = []
        for path in self._folder.glob("results-*.jsonl*"):
            if path == self._path:
                continue
            try:
                stat = path.stat()
            except FileNotFoundError:  # another worker just gave it its name
                continue
            if time.time() - stat.st_mtime < _RECENT_S:
                found.append((stat.st_mtime, path, stat.st_size))
        newest = sorted(found, reverse=True)[:_MOST_FILES]
        self._tails = {path: self._tail(path, size) for _, path, size in newest}
        return [tail.lines for tail in self._tails.values()]

    def _tail(self, path: Path, size: int) -> _Tail:
        """Of a file that grows only what is new is read, and all of it again before it is too much."""
        start = max(0, size - _TAIL)
        known = self._tails.get(path, _Tail(start, start, {}))
        if not known.end <= size <= known.start + 2 * _TAIL:
            known = _Tail(start, start, {})
        try:
            with path.open("rb") as file:
                file.seek(known.end)
                new = file.read(size - known.end)
        except FileNotFoundError:
            return known
        whole = new.rfind(b"\n") + 1
        return _Tail(known.start, known.end + whole, known.lines | _lines(new[:whole]))


def _lines(text: bytes) -> dict[str, Written]:
    found = {}
    for line in text.split(b"\n"):
        try:
            facts = orjson.loads(line)
            error = facts["llmbatch_error"]
            dead = facts["llmbatch_status"] == "failed" or (error or "").startswith("bad_row")
            found[str(facts[ID_COLUMN])] = Written(dead, error)
        except (orjson.JSONDecodeError, KeyError, TypeError):
            continue  # the first line may be cut, and the last torn
    return found


def _close_left(part: Path) -> None:
    """Cut a torn last line off and give the file its name, unless its worker lives."""
    file = os.open(part, os.O_RDWR | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        size = os.fstat(file).st_size
        start = max(0, size - _TAIL)
        end = start + os.pread(file, size - start, start).rfind(b"\n") + 1
        if end < size:
            os.ftruncate(file, end)
            os.fsync(file)
        if end:
            part.rename(part.with_suffix(""))
        else:
            part.unlink()
    finally:
        os.close(file)


def _write_all(file: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]


def _storage_error(folder: Path, error: OSError) -> StorageError:
    return StorageError(
        f"results cannot be written into {folder}: {error.strerror or error}",
        hint="free some space, or mend its permissions; messages without a result stay in the queue",
    )
