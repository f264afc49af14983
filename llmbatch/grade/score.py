"""What a grader says of a row, and what every grader is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

import orjson

from llmbatch.types import Json

Output: TypeAlias = Mapping[str, Json]
Columns: TypeAlias = Mapping[str, Json]


@dataclass(frozen=True, slots=True)
class Score:
    """How good an output is."""

    value: float  #: 0 (wrong) to 1 (as good as can be)
    details: Mapping[str, float] = field(default_factory=dict)  #: parts of it, by name
    expected: frozenset[str] | None = None  #: the right labels, where labels are compared
    given: frozenset[str] | None = None  #: the output's labels, likewise


WRONG = Score(0.0)


class Grader(Protocol):
    """Says how good an output is. Pure: the same output and row always get the same score."""

    def grade(self, output: Output | None, row: Columns) -> Score | None:
        """Grade a valid output, or None: a row that failed, which is wrong and never left out.

        Returns None when the row cannot be graded because it has no gold; such rows count nowhere.
        """
        ...


def text_of(value: Json) -> str:
    """The text of a value: a string as it is, of arrays and objects all strings in them, a line each."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "\n".join(filter(None, map(text_of, value)))
    if isinstance(value, dict):
        return "\n".join(filter(None, map(text_of, value.values())))
    return ""


def label_of(value: Json, *, ignore_case: bool = False) -> str:
    """A value as a label: a string without the spaces around it, anything else as JSON; 1.0 is 1."""
    if isinstance(value, str):
        return value.strip().casefold() if ignore_case else value.strip()
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS, default=str).decode()


def source_text(row: Columns, columns: tuple[str, ...]) -> str:
    """The text of some columns of a row."""
    return "\n".join(filter(None, (text_of(row.get(column)) for column in columns)))
