"""Parquet, read with polars a slice at a time; every value becomes one that JSON can carry.

=========================================  =======================================================================
column type                                value in a row
=========================================  =======================================================================
String, Categorical, Enum                  text
Boolean, Int8..Int64, UInt8..UInt64        bool, int
Int128, UInt128, Decimal                   exact text: ``"12.30"``
Float32, Float64                           float; NaN and infinities are null
Date, Time                                 ``"2026-01-31"``, ``"13:05:00"`` with the fraction if there is one
Datetime                                   ``"2026-01-31T13:05:00.000000"``, with ``+01:00`` where it has a time zone;
                                           as many digits as the column's unit has
Duration                                   ISO 8601: ``"PT1H30M"``
List, Array                                list
Struct                                     object with all its fields
Binary                                     base64 text
Null                                       null
=========================================  =======================================================================

Memory follows the largest row group, whose packed bytes polars reads whole for each slice, not the file.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING

from llmbatch.errors import InputError
from llmbatch.source.files import InputFile, Reading, take_in
from llmbatch.types import Row

if TYPE_CHECKING:
    import polars as pl
    from polars.datatypes import DataTypeClass

# Read when polars is first imported, which is later and from here or the sink: what was read for a slice goes back to
# the system at once. Else each of polars' threads keeps up to a row group for the next one.
os.environ.setdefault("_RJEM_MALLOC_CONF", "dirty_decay_ms:0,muzzy_decay_ms:0")

_SLICE_BYTES = 4 * 1024**2  #: aimed at, in memory; each reads its row group anew
_FIRST_SLICE = 100  #: rows; tells how large rows are


def rows(file: InputFile, first_no: int, reading: Reading) -> Generator[Row, None, int]:
    """Yield the file's rows, numbered from ``first_no``; returns the number after the last row's.

    Raises InputError when the file is cut or damaged, or has a column type that JSON cannot carry.
    """
    if reading.sha256 is not None:
        take_in(file, reading)
    row_no = first_no
    for frame in _slices(file):
        for columns in frame.iter_rows(named=True):
            yield Row(row_no, columns, file.name, row_no - first_no + 1)
            row_no += 1
    return row_no


def _slices(file: InputFile) -> Iterator[pl.DataFrame]:
    """Yield the file in frames of about ``_SLICE_BYTES``.

    ``LazyFrame.collect_batches`` would do this, but is marked unstable and reads row groups ahead of a slow consumer.
    """
    import polars as pl

    done, size = 0, _FIRST_SLICE
    try:
        scan = pl.scan_parquet(file.path, glob=False, hive_partitioning=False)
        total = scan.select(pl.len()).collect().item()
        scan = scan.select(
            pl.nth(i) if (rendered := _rendered(pl.nth(i), dtype)) is None else rendered.alias(name)
            for i, (name, dtype) in enumerate(scan.collect_schema().items())
        )
        while done < total:
            frame = scan.slice(done, size).collect()
            if not frame.height:
                raise InputError(f"{file.name}: ends after row {done}; its footer says {total}", hint=_HINT)
            yield frame
            done += frame.height
            size = max(1, _SLICE_BYTES * frame.height // max(1, int(frame.estimated_size())))
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        raise InputError(f"{file.name}: cannot be read after row {done}: {_first_line(error)}", hint=_HINT) from error


_HINT = "the Parquet file is cut or damaged: copy or write it again"


def _first_line(error: BaseException) -> str:
    return str(error).partition("\n")[0][:200]


def _rendered(column: pl.Expr, dtype: pl.DataType) -> pl.Expr | None:
    """The expression that makes a column's values what the module's table says; None when they are so already."""
    import polars as pl

    if isinstance(dtype, pl.List | pl.Array):
        inner = _rendered(pl.element(), _typed(dtype.inner))
        return None if inner is None else column.cast(pl.List(dtype.inner)).list.eval(inner)
    if isinstance(dtype, pl.Struct):
        return _rendered_struct(column, dtype)
    if isinstance(dtype, pl.Date | pl.Datetime | pl.Time | pl.Duration):
        return column.dt.to_string("iso:strict")
    if isinstance(dtype, pl.Decimal | pl.Int128 | pl.UInt128 | pl.Categorical | pl.Enum):
        return column.cast(pl.String)
    if isinstance(dtype, pl.Float32 | pl.Float64):
        return pl.when(column.is_finite()).then(column)
    if isinstance(dtype, pl.Binary):
        return column.bin.encode("base64")
    return None


def _rendered_struct(column: pl.Expr, dtype: pl.Struct) -> pl.Expr | None:
    """As ``_rendered``. Fields go by number meanwhile: polars takes a name like ``^a.*$`` for a pattern."""
    import polars as pl

    numbers = [str(number) for number in range(len(dtype.fields))]
    fields = zip(numbers, dtype.fields, strict=True)
    rendered = [(number, _rendered(pl.field(number), _typed(field.dtype))) for number, field in fields]
    changed = [expr.alias(number) for number, expr in rendered if expr is not None]
    if not changed:
        return None
    numbered = column.struct.rename_fields(numbers).struct.with_fields(changed)
    return numbered.struct.rename_fields([field.name for field in dtype.fields])


def _typed(dtype: pl.DataType | DataTypeClass) -> pl.DataType:
    """Polars allows a class where it means its plain instance."""
    return dtype() if isinstance(dtype, type) else dtype
