"""JSON Lines: one object a line, read with orjson.

What is defined where JSON leaves it open: of a key given twice in one object the last value counts; NaN, Infinity and
escaped lone surrogates are faults; so are integers outside -2**63..2**64-1, which would turn into other numbers, and
values nested deeper than 128. Columns in messages count characters, from 1.
"""

from __future__ import annotations

import json
from collections.abc import Generator
from typing import NamedTuple

import orjson

from llmbatch.errors import InputError
from llmbatch.source.files import MAX_LINE, InputFile, Reading, read_lines
from llmbatch.types import Json, Row

MAX_DEPTH = 128  #: levels of objects and lists in a row, the row itself included

_FLAT = frozenset({str, int, bool, type(None)})  #: types that need no second look
_UNSURE = frozenset({float, list, dict})


class _Fault(NamedTuple):
    message: str
    column: int | None = None


class _TooDeep(Exception):
    """A value nested deeper than MAX_DEPTH."""


def rows(file: InputFile, first_no: int, *, skip_bad: bool, reading: Reading) -> Generator[Row, None, int]:
    """Yield the file's rows, numbered from ``first_no``; blank lines are counted and take no number.

    Returns the number after the last row's.

    Raises InputError at the first broken line; with ``skip_bad`` it becomes a row that has a ``problem``.
    """
    row_no, name, loads = first_no, file.name, orjson.loads
    for line_no, line in enumerate(read_lines(file, reading), 1):
        fault = None
        try:
            columns = loads(line)
        except orjson.JSONDecodeError as error:
            if line.isspace() or not line:
                reading.blank_lines += 1
                continue
            fault = _syntax_fault(line, error)
        else:
            if type(columns) is not dict or len(line) > MAX_LINE or not _FLAT.issuperset(map(type, columns.values())):
                fault = _value_fault(line, columns)
        if fault is None:
            yield Row(row_no, columns, name, line_no)
        elif skip_bad:
            yield Row(row_no, {}, name, line_no, _problem(fault))
        else:
            raise _broken(f"{name}:{line_no}", fault)
        row_no += 1
    return row_no


def row_of(text: bytes, row_no: int, name: str) -> Row:
    """One row from a JSON text that is no line of a file; it has a ``problem`` where :func:`rows` would raise."""
    try:
        columns = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        return Row(row_no, {}, name, row_no + 1, _problem(_syntax_fault(text, error)))
    fault = _value_fault(text, columns)
    return (
        Row(row_no, columns, name, row_no + 1) if fault is None else Row(row_no, {}, name, row_no + 1, _problem(fault))
    )


def _syntax_fault(line: bytes, error: orjson.JSONDecodeError) -> _Fault:
    if len(line) > MAX_LINE:
        return _Fault(f"the line is longer than {MAX_LINE // 1024**2} MiB")
    try:
        text = line.decode().rstrip("\r\n")
    except UnicodeDecodeError as wrong:
        return _Fault("invalid UTF-8", len(line[: wrong.start].decode()) + 1)
    return _Fault(error.msg, min(error.pos, len(text)) + 1)


def _value_fault(line: bytes, columns: Json) -> _Fault | None:
    """What is wrong with a line that parses but is no object, is very long, or holds floats, lists or objects."""
    if len(line) > MAX_LINE:
        return _Fault(f"the line is longer than {MAX_LINE // 1024**2} MiB")
    if type(columns) is not dict:
        return _Fault("a row must be a JSON object", 1)
    try:
        suspects = [key for key, value in columns.items() if type(value) in _UNSURE and _has_huge(value, 1)]
    except _TooDeep:
        return _Fault(f"values are nested deeper than {MAX_DEPTH}")
    if suspects:
        exact = json.loads(line)
        for key in suspects:
            if _has_huge_int(exact[key]):
                return _Fault(f'an integer in "{key}" needs more than 64 bits; write it as a string')
    return None


def _has_huge(value: Json, depth: int) -> bool:
    """Whether a float of 2**63 or more is inside: orjson makes one of an integer beyond 64 bits.

    Raises _TooDeep, and so looks at everything.
    """
    if type(value) is float:
        return abs(value) >= 2**63
    if depth == MAX_DEPTH:
        raise _TooDeep
    inside = value.values() if type(value) is dict else value
    return any([_has_huge(each, depth + 1) for each in inside if type(each) in _UNSURE])  # noqa: C419 - any() would stop early


def _has_huge_int(value: Json) -> bool:
    if type(value) is int:
        return not -(2**63) <= value < 2**64
    if type(value) is dict:
        return any(map(_has_huge_int, value.values()))
    return type(value) is list and any(map(_has_huge_int, value))


def _problem(fault: _Fault) -> str:
    return fault.message if fault.column is None else f"column {fault.column}: {fault.message}"


def _broken(place: str, fault: _Fault) -> InputError:
    where = place if fault.column is None else f"{place}:{fault.column}"
    return InputError(
        f"{where}: {fault.message}",
        hint="every line must be one JSON object; mend the line, or leave such rows out with --skip-bad-rows",
    )
