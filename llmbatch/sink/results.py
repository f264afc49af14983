"""Results and failed rows: two files from one pass over the rows, whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import BinaryIO

from llmbatch.atomic import replacing
from llmbatch.sink.answer import Answer, Target, Written
from llmbatch.sink.columns import added_columns, values_of
from llmbatch.sink.lines import failed_line, line_of
from llmbatch.types import Row, Status


def check_target(target: Target) -> None:
    """Find out before a run whether its results can be written. Raises PipelineError or InputError."""
    added_columns(target.schema, target.prefix)
    if target.format == "parquet":
        from llmbatch.sink import parquet

        parquet.schema(target)


def write_results(pairs: Iterable[tuple[Row, Answer]], target: Target) -> Written:
    """Write every row with its answer, in the order given, and the failed ones once more to ``failed.jsonl``.

    ``pairs`` are the rows of the input from its first on, each once; for Parquet results they may be taken on another
    thread than the caller's. The same pairs give the same bytes. Older files stay untouched until both new ones are
    complete. JSON Lines have the keys that the input's line had; a bad line has none. In Parquet they are null.

    Raises StorageError when the files cannot be written; InputError when a Parquet input changed meanwhile.
    """
    rows = 0
    with replacing(target.results) as results, replacing(target.failed) as failed:

        def watched() -> Iterator[tuple[Row, Answer]]:
            nonlocal rows
            for row, answer in pairs:
                rows += 1
                if answer.status is Status.FAILED:
                    failed.write(failed_line(row, answer, target))
                yield row, answer

        _write(watched(), target, results)
        size = _size(results) + _size(failed)
    return Written(target.results, target.failed, rows, size)


def _size(file: BinaryIO) -> int:
    file.flush()
    return os.fstat(file.fileno()).st_size


def _write(pairs: Iterator[tuple[Row, Answer]], target: Target, out: BinaryIO) -> None:
    if target.format == "parquet":
        from llmbatch.sink import parquet

        parquet.write(pairs, target, out)
    else:
        values = values_of(target)
        out.writelines(line_of(row.columns | values(answer)) for row, answer in pairs)
