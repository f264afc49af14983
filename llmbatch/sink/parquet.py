"""Results as Parquet, written by polars from a stream of small frames.

Input columns come typed as surveyed (JSON Lines), or straight from the input's files with the types they have there.
Memory holds a few frames and a row group, and of Parquet input its largest row group.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import BinaryIO, TypeVar

import polars as pl
from polars.io.plugins import register_io_source

from llmbatch.errors import InputError
from llmbatch.sink import shapes
from llmbatch.sink.answer import Answer, Target
from llmbatch.sink.columns import added_columns, values_of
from llmbatch.types import Row

T = TypeVar("T")
Pairs = Iterator[tuple[Row, Answer]]

_FRAME_BYTES = 1024**2
_FRAME_ROWS = 2_000
_SLICE_BYTES = 4 * 1024**2  #: of the input's files
_FIRST = 100  #: rows; tell how large rows are
_GROUP_BYTES = 8 * 1024**2
_GROUP_ROWS = 8_192


def write(pairs: Pairs, target: Target, out: BinaryIO) -> None:
    """Write every pair as a row. Pairs are taken on one of polars' threads.

    Raises InputError when the input's files changed or cannot be read; OSError when ``out`` cannot be written.
    """
    frames = _beside_input(pairs, target) if target.kind == "parquet" else _of_rows(pairs, target)
    first = next(frames, None)
    group_rows = _GROUP_ROWS if first is None else _rows_in(first, _GROUP_BYTES, _GROUP_ROWS)
    stream = chain([] if first is None else [first], frames)
    lazy = register_io_source(lambda *_: stream, schema=schema(target))
    try:
        lazy.sink_parquet(out, compression="zstd", row_group_size=group_rows, maintain_order=True)
    except pl.exceptions.ComputeError as error:
        if found := re.search(r"(.*) \(os error (\d+)\)", str(error)):
            raise OSError(int(found[2]), found[1].rpartition(": ")[2]) from error
        raise


def schema(target: Target) -> pl.Schema:
    """The columns of the results.

    Raises InputError when the input's files do not fit each other, or when two columns would have one name.
    """
    added = shapes.schema(added_columns(target.schema, target.prefix))
    own = _input_schema(target.files) if target.kind == "parquet" else shapes.schema(target.columns)
    if twice := sorted(own.keys() & added.keys()):
        raise InputError(
            f'the results would have two columns named "{twice[0]}"',
            hint='give the output\'s columns a prefix: [output] prefix = "..." in pipeline.toml',
        )
    return pl.Schema({**own, **added})


def _of_rows(pairs: Pairs, target: Target) -> Iterator[pl.DataFrame]:
    columns = {**target.columns, **added_columns(target.schema, target.prefix)}
    values, size = values_of(target), _FIRST
    while lines := [row.columns | values(answer) for row, answer in islice(pairs, size)]:
        frame = shapes.frame(lines, columns)
        yield frame
        size = _rows_in(frame, _FRAME_BYTES, _FRAME_ROWS)


def _beside_input(pairs: Pairs, target: Target) -> Iterator[pl.DataFrame]:
    columns, values = added_columns(target.schema, target.prefix), values_of(target)
    for frame in _input_frames(target.files):
        lines = [values(answer) for _, answer in islice(pairs, frame.height)]
        if lines:
            yield frame.head(len(lines)).hstack(shapes.frame(lines, columns))
        if len(lines) < frame.height:
            return
    if next(pairs, None) is not None:
        raise InputError("the input has fewer rows than when it was first read", hint=_CHANGED)


def _input_frames(files: Sequence[Path]) -> Iterator[pl.DataFrame]:
    """The files' rows, with the columns of all of them."""
    empty = pl.DataFrame(schema=_input_schema(files))
    for file in files:
        for slice_ in _slices(file):
            whole = slice_ if slice_.schema == empty.schema else pl.concat([empty, slice_], how="diagonal_relaxed")
            yield from whole.iter_slices(_rows_in(whole, _FRAME_BYTES, _FRAME_ROWS))


def _slices(file: Path) -> Iterator[pl.DataFrame]:
    scan, done, size = _scan(file), 0, _FIRST
    while not (slice_ := _read(file, scan.slice(done, size).collect)).is_empty():
        yield slice_
        done, size = done + slice_.height, _rows_in(slice_, _SLICE_BYTES, 2**31)


def _input_schema(files: Sequence[Path]) -> pl.Schema:
    empties = [pl.DataFrame(schema=_read(file, _scan(file).collect_schema)) for file in files]
    try:
        return pl.concat(empties, how="diagonal_relaxed").schema
    except pl.exceptions.PolarsError as error:
        raise InputError(
            f"the input's files have columns of one name and types that do not fit: {_first_line(error)}",
            hint="give the columns one type, run the files apart, or write JSON Lines: --format jsonl",
        ) from error


def _scan(file: Path) -> pl.LazyFrame:
    return pl.scan_parquet(file, glob=False, hive_partitioning=False)


def _read(file: Path, read: Callable[[], T]) -> T:
    try:
        return read()
    except (pl.exceptions.PolarsError, OSError) as error:
        raise InputError(f"{file}: cannot be read any more: {_first_line(error)}", hint=_CHANGED) from error


_CHANGED = "the input must not change during a run: run the same command again when it is whole"


def _rows_in(frame: pl.DataFrame, size: int, most: int) -> int:
    """How many rows of a frame's kind fill so many bytes; at least one."""
    return min(most, max(1, size * frame.height // max(1, int(frame.estimated_size()))))


def _first_line(error: BaseException) -> str:
    return str(error).partition("\n")[0][:200]
