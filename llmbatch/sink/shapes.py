"""Column types as polars knows them, and how values are made to fit.

======================================  ================================================================
type                                    Parquet
======================================  ================================================================
bool, float, string                     Boolean, Float64, String
int                                     Int64, or UInt64 where values need it and none is negative
list, object                            List, Struct; absent fields are null
null (no value seen)                    String
mixed, negative beside huge integers,   the value's JSON text, as String
objects with data as keys, anything
deeper than 16 levels
======================================  ================================================================
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import polars as pl

from llmbatch.sink.lines import line_of
from llmbatch.source import ColumnType
from llmbatch.types import Json

DEEPEST = 16  #: levels; writing nested structs takes polars exponential time beyond some 60

Fit = Callable[[Any], Json]


def frame(lines: Sequence[Mapping[str, Json]], columns: Mapping[str, ColumnType]) -> pl.DataFrame:
    """The lines' columns, typed. A key that a line lacks is null."""
    return pl.DataFrame({name: _series([line.get(name) for line in lines], each) for name, each in columns.items()})


def schema(columns: Mapping[str, ColumnType]) -> pl.Schema:
    """The types of what :func:`frame` makes."""
    return frame([], columns).schema


def _series(values: list[Json], column: ColumnType) -> pl.Series:
    dtype, fit = _shape(column, 1)
    return pl.Series(values=values if fit is None else list(map(fit, values)), dtype=dtype, strict=True)


def _shape(column: ColumnType, level: int) -> tuple[pl.DataType, Fit | None]:
    """The polars type, and what makes a value (or null) fit it; None where every value fits as it is."""
    if column.kind == "bool":
        return pl.Boolean(), None
    if column.kind == "float":
        return pl.Float64(), None if level == 1 else _float
    if column.kind in ("string", "null"):
        return pl.String(), None
    if column.kind == "int":
        return _integers(column)
    if column.kind == "list" and column.element and level < DEEPEST:
        dtype, fit = _shape(column.element, level + 1)
        return pl.List(dtype), fit and partial(_fit_each, fit)
    if column.kind == "object" and column.fields and level < DEEPEST:
        shapes = {name: _shape(field, level + 1) for name, field in column.fields.items()}
        fits = {name: fit for name, (_, fit) in shapes.items() if fit}
        dtype = pl.Struct({name: dtype for name, (dtype, _) in shapes.items()})
        return dtype, partial(_fit_fields, fits) if fits else None
    return pl.String(), _json_text


def _integers(column: ColumnType) -> tuple[pl.DataType, Fit | None]:
    if column.low is None or column.high is None:  # of a schema, which sets no bounds and calls 1.0 an integer
        return pl.Int64(), _integer
    if column.high < 2**63:
        return pl.Int64(), None
    return (pl.UInt64(), None) if column.low >= 0 else (pl.String(), _json_text)


def _integer(value: float | None) -> int | None:
    """An integer that fits 64 bits; of others a results file in JSON Lines has the value."""
    return int(value) if value is not None and -(2**63) <= value < 2**63 else None


def _float(value: float | None) -> float | None:
    """A float, also of an integer: inside lists and structs polars refuses a float that follows an integer."""
    return None if value is None else float(value)


def _fit_each(fit: Fit, values: list[Json] | None) -> list[Json] | None:
    return None if values is None else [fit(value) for value in values]


def _fit_fields(fits: Mapping[str, Fit], value: dict[str, Json] | None) -> dict[str, Json] | None:
    return None if value is None else value | {name: fit(value.get(name)) for name, fit in fits.items()}


def _json_text(value: Json) -> str | None:
    return None if value is None else line_of(value)[:-1].decode()
