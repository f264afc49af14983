"""The input's files: which they are, what they hold, and their bytes."""

from __future__ import annotations

import glob
import gzip
import io
import os
import shutil
import stat
import sys
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, BinaryIO, Literal

from llmbatch.atomic import alive
from llmbatch.errors import InputError, StorageError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

if TYPE_CHECKING:
    import hashlib

Kind = Literal["jsonl", "parquet"]
Packing = Literal["plain", "gzip", "zstd"]

STDIN = "stdin"  #: the name of standard input in messages and in ``Row.file``
MAX_LINE = 64 * 1024 * 1024  #: bytes in a line, its end included

_BUFFER = 256 * 1024
_PACKED: dict[bytes, Packing] = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}
_SUFFIXES: dict[str, tuple[Kind, Packing]] = {
    ".gz": ("jsonl", "gzip"),
    ".zst": ("jsonl", "zstd"),
    ".parquet": ("parquet", "plain"),
}
_BOM = b"\xef\xbb\xbf"
_WIDE_BOMS = (b"\xff\xfe", b"\xfe\xff")  #: UTF-16, and UTF-32 little-endian


@dataclass(frozen=True, slots=True)
class InputFile:
    """One file of the input."""

    name: str  #: the path as the user gave it; "stdin" for standard input
    path: Path  #: where the bytes are
    kind: Kind
    packing: Packing


@dataclass(slots=True)
class Reading:
    """What one pass over the input gathers beside its rows."""

    sha256: hashlib._Hash | None = None  #: takes in every byte of every file as stored, in order
    blank_lines: int = 0


def find(inputs: Sequence[str]) -> list[tuple[str, Path]]:
    """Name and path of every file that ``inputs`` (paths or globs) stand for; a glob's files are sorted.

    Raises InputError when a file is missing, a glob matches nothing, or a name is not UTF-8.
    """
    found: list[tuple[str, Path]] = []
    for name in inputs:
        if _exists(name):
            found.append((name, Path(name)))
            continue
        matches = glob.glob(name, recursive=True)  # noqa: PTH207 - Path.glob takes no absolute patterns
        matched = sorted(match for match in matches if not Path(match).is_dir())
        if not matched:
            raise InputError(f"{name}: no such file, and no file matches", hint="check the path and the current folder")
        found += [(match, Path(match)) for match in matched]
    for name, _ in found:
        _refuse_odd_name(name)
    return found


def _refuse_odd_name(name: str) -> None:
    """Names are stored and shown, which one that is not UTF-8 cannot be."""
    try:
        name.encode()
    except UnicodeEncodeError:
        shown = name.encode(errors="backslashreplace").decode()
        raise InputError(f"{shown}: the file's name is not UTF-8", hint="rename the file") from None


def _exists(name: str) -> bool:
    try:
        Path(name).stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:  # it is there, or cannot be: opening it says why
        return True
    return True


def new_copy(folder: Path, suffix: str = "") -> Path:
    """A new file beside the ledger that only its owner can read. Raises OSError."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=folder, prefix=f"input-{os.getpid()}-", suffix=suffix)
    os.close(handle)
    return Path(name)


def sweep(folder: Path) -> None:
    """Remove copies that killed processes left in a folder, and what DuckDB spilled beside them. Raises OSError."""
    for left in folder.glob("input-*"):
        owner = left.name.split("-")[1]
        if not owner.isdigit() or alive(int(owner)):
            continue
        if left.is_dir():
            shutil.rmtree(left, ignore_errors=True)
        else:
            left.unlink(missing_ok=True)


def spool(folder: Path) -> Path:
    """Copy standard input into a new file in ``folder`` that only its owner can read.

    Raises InputError when standard input is closed, StorageError when the disk is full.
    """
    if sys.stdin is None:
        raise InputError(f"{STDIN}: is closed", hint="pipe rows into the command, or name a file")
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=folder, prefix="stdin-")
        try:
            with open(handle, "wb") as copy:  # noqa: PTH123 - a descriptor, not a path
                shutil.copyfileobj(sys.stdin.buffer, copy, _BUFFER)
        except BaseException:
            Path(name).unlink()
            raise
    except OSError as error:
        raise StorageError(
            f"{folder}: standard input cannot be stored: {error.strerror}",
            hint="free some space, or give the input as a file",
        ) from error
    return Path(name)


def identify(name: str, path: Path) -> InputFile:
    """What a file holds: by its first bytes, then by its suffix.

    Raises InputError when it cannot be read or is neither JSON Lines nor Parquet.
    """
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise InputError(f"{name}: is a folder", hint=f"name its files: '{name.rstrip('/')}/*.jsonl'")
        if not stat.S_ISREG(mode):
            raise InputError(f"{name}: is not a regular file", hint="read a pipe through standard input: --input -")
        with path.open("rb") as raw:
            head = raw.read(4)
    except OSError as error:
        raise InputError(f"{name}: cannot be read: {error.strerror}", hint="check its path and permissions") from error
    kind: Kind = "parquet" if head == b"PAR1" else "jsonl"
    packing: Packing = next((packing for magic, packing in _PACKED.items() if head.startswith(magic)), "plain")
    wanted = _SUFFIXES.get(path.suffix.lower())
    if wanted and packing == "plain" and wanted != (kind, packing):
        what = "Parquet" if wanted[0] == "parquet" else wanted[1]
        raise InputError(f"{name}: holds no {what} data", hint=f"name it for what it holds, or write the {what} again")
    file = InputFile(name, path, kind, packing)
    if kind == "jsonl":
        _refuse_other_text(file)
    return file


def _refuse_other_text(file: InputFile) -> None:
    """Raise InputError for what is often saved under the wrong name; its lines would only mislead."""
    start = next((line for line in read_lines(file, Reading()) if line.strip()), b"")[:4096].lstrip()
    if start.startswith(b"PAR1"):
        raise InputError(f"{file.name}: holds packed Parquet", hint="unpack the file; Parquet compresses by itself")
    if start.startswith(_WIDE_BOMS) or b"\0" in start[:4]:
        raise InputError(
            f"{file.name}: is UTF-16 or UTF-32 text, not UTF-8",
            hint=f"convert it: iconv -f UTF-16 -t UTF-8 {file.name} > rows.jsonl",
        )
    if start.startswith(b"<"):
        raise InputError(
            f"{file.name}: is HTML or XML, not JSON Lines",
            hint="a download may have saved an error or login page: look at the file",
        )
    if start.startswith(b"["):
        raise InputError(
            f"{file.name}: is a JSON array, not JSON Lines (one object a line)",
            hint=f"convert it: jq -c '.[]' {file.name} > rows.jsonl",
        )


def read_lines(file: InputFile, reading: Reading) -> Iterator[bytes]:
    r"""Yield the unpacked lines with their ``\n``, without a byte order mark.

    Lines end at ``\n`` only. One longer than MAX_LINE comes as its first ``MAX_LINE + 1`` bytes.
    Raises InputError when the file cannot be read to its end.
    """
    done = 0
    try:
        with ExitStack() as stack:
            opened = _unpacked(file, stack.enter_context(_open(file.path, reading)), stack)
            for line in iter(partial(opened.readline, MAX_LINE + 1), b""):
                if len(line) > MAX_LINE:
                    _finish_line(opened, line)
                yield line if done else line.removeprefix(_BOM)
                done += 1
    except (EOFError, OSError, zlib.error, zstd.ZstdError) as error:
        reason = getattr(error, "strerror", None) or f"its {file.packing} data is cut short or damaged"
        raise InputError(
            f"{file.name}: cannot be read after line {done}: {reason}", hint="copy or write the file again"
        ) from error


def take_in(file: InputFile, reading: Reading) -> None:
    """Read a file only for its hash. Raises InputError when it cannot be read."""
    try:
        with _open(file.path, reading) as opened:
            while opened.read(_BUFFER):
                pass
    except OSError as error:
        raise InputError(f"{file.name}: cannot be read: {error.strerror}") from error


def _finish_line(opened: BinaryIO | IO[bytes], line: bytes) -> None:
    while line and not line.endswith(b"\n"):
        line = opened.readline(MAX_LINE)


def _unpacked(file: InputFile, opened: BinaryIO, stack: ExitStack) -> BinaryIO | IO[bytes]:
    if file.packing == "plain":
        return opened
    unpack = gzip.GzipFile(fileobj=opened) if file.packing == "gzip" else zstd.ZstdFile(opened)
    # the unpackers' own readline runs in Python: two microseconds a line instead of 0.2
    return stack.enter_context(io.BufferedReader(stack.enter_context(unpack), _BUFFER))


def _open(path: Path, reading: Reading) -> BinaryIO:
    raw = path.open("rb", buffering=0)
    return io.BufferedReader(raw if reading.sha256 is None else _Hashed(raw, reading.sha256), _BUFFER)


class _Hashed(io.RawIOBase):
    """A raw file that hashes what is read from it."""

    def __init__(self, raw: io.FileIO, sha256: hashlib._Hash) -> None:
        self._raw, self._sha256 = raw, sha256

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview, /) -> int:  # type: ignore[override]
        size = self._raw.readinto(buffer)
        self._sha256.update(memoryview(buffer)[:size])
        return size

    def close(self) -> None:
        self._raw.close()
        super().close()
