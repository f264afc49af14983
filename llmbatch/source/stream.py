"""The input as one stream of rows."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from llmbatch.errors import InputError
from llmbatch.source import jsonl, parquet
from llmbatch.source.copies import copying
from llmbatch.source.files import STDIN, InputFile, Kind, Reading, identify, spool, take_in
from llmbatch.types import Row

Stamp = tuple[tuple[int, int, int], ...]  #: size, mtime in ns and inode of each file


class Source:
    """The rows of one or more files of one kind. Made by :func:`open_source`; a context manager.

    Attributes:
        files: in the order their rows are read.
        kind: ``jsonl`` or ``parquet``.
    """

    def __init__(self, files: Sequence[InputFile], spooled: Sequence[Path] = ()) -> None:
        self.files = tuple(files)
        self.kind: Kind = files[0].kind
        self._spooled = tuple(spooled)

    def rows(self, *, skip_bad: bool = False, reading: Reading | None = None) -> Iterator[Row]:
        """Yield every row, in the memory of a few; may be called again, for the same rows.

        ``row_no`` counts over all files. ``skip_bad`` turns a broken JSON line into a row with a ``problem``.
        ``reading`` gathers what the pass sees beside the rows. Raises InputError where the input cannot be read.
        """
        reading, row_no = reading or Reading(), 0
        for file in self.files:
            if file.kind == "parquet":
                row_no = yield from parquet.rows(file, row_no, reading)
            else:
                row_no = yield from jsonl.rows(file, row_no, skip_bad=skip_bad, reading=reading)

    def stamp(self) -> Stamp:
        """What changes when a file is written again or grows; costs a stat a file. Raises InputError if one is gone."""
        try:
            stats = [file.path.stat() for file in self.files]
        except OSError as error:
            raise InputError(f"{error.filename}: the input is gone: {error.strerror}") from error
        return tuple((stat.st_size, stat.st_mtime_ns, stat.st_ino) for stat in stats)

    def fingerprint(self) -> str:
        """SHA-256 (64 hex digits) over the bytes of all files as stored, in order. Raises InputError."""
        reading = Reading(hashlib.sha256())
        for file in self.files:
            take_in(file, reading)
        assert reading.sha256 is not None
        return reading.sha256.hexdigest()

    def close(self) -> None:
        """Delete the copies of what is no file of this machine."""
        for copy in self._spooled:
            copy.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_source(inputs: Sequence[str], spool_dir: Path) -> Source:
    """Open the input: paths and globs, or ``-`` alone for standard input.

    Standard input, objects (s3://, gs://, az://), https://, tables (FILE.duckdb::TABLE) and folders of Hive partitions
    are first copied into ``spool_dir``. JSON Lines may be packed with gzip or zstd. What a file holds is told by its
    first bytes, not by its name. Raises InputError when a file is missing, cannot be read, holds something else, or the
    files differ in kind; StorageError when a copy cannot be stored.
    """
    if "-" in inputs:
        if len(inputs) > 1:
            raise InputError("standard input (-) cannot be read together with files", hint="give one or the other")
        return _open_stdin(spool_dir)
    with copying(spool_dir) as copies:
        files = [identify(name, path) for each in inputs for name, path in copies.find(each)]
        return Source(_one_kind(files), copies.kept())


def _open_stdin(spool_dir: Path) -> Source:
    copy = spool(spool_dir)
    try:
        return Source([identify(STDIN, copy)], [copy])
    except BaseException:
        copy.unlink()
        raise


def _one_kind(files: list[InputFile]) -> list[InputFile]:
    for file in files:
        if file.kind != files[0].kind:
            raise InputError(
                f"{files[0].name} is {files[0].kind} and {file.name} is {file.kind}",
                hint="a run reads files of one kind: run them apart, with an output folder each",
            )
    return files
