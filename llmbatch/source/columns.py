"""What types a column's values have, merged over all rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from llmbatch.types import Json

MAX_FIELDS = 1_000  #: of one nested object; one with more is taken for a table with data as keys

_EXACT = 2**53  #: integers up to here are exact as floats
_MAX_CELLS = 100_000  #: of remembered shapes, a cell being a key or a type

_Shape = tuple[str | type, ...]  #: an object's keys, then the types of their values


@dataclass(frozen=True, slots=True)
class ColumnType:
    """The one type that holds every value of a column.

    Integers beside floats are ``float`` while they stay exact; other mixtures are ``mixed``. Null and absent values
    leave the type as it is.
    """

    kind: Literal["null", "bool", "int", "float", "string", "list", "object", "mixed"]
    low: int | None = None  #: of ``int``: the smallest value, -2**63 or more
    high: int | None = None  #: of ``int``: the largest value, below 2**64
    element: ColumnType | None = None  #: of ``list``; kind ``null`` when no list holds a value
    fields: Mapping[str, ColumnType] | None = None  #: of ``object``; None when it has more than MAX_FIELDS


@dataclass(slots=True)
class Place:
    """The values seen at one place of the rows: in a column, a field, or a column's lists."""

    kinds: set[type] = field(default_factory=set)
    low: int = 2**64
    high: int = -(2**64)
    element: Place | None = None
    fields: Fields | None = None

    def add(self, value: Json) -> None:
        """Take in one value."""
        kind = type(value)
        self.kinds.add(kind)
        if kind is int:
            if value < self.low:  # noqa: PLR1730 - half the time of min() and max(), for every integer there is
                self.low = value
            if value > self.high:  # noqa: PLR1730
                self.high = value
        elif kind is list:
            if self.element is None:
                self.element = Place()
            self.element.add_all(value)
        elif kind is dict:
            if self.fields is None:
                self.fields = Fields(MAX_FIELDS)
            self.fields.add(value)

    def add_all(self, values: list[Json]) -> None:
        """Take in a list's values."""
        kinds = set(map(type, values))
        self.kinds |= kinds
        if not kinds.isdisjoint(_GROWING):
            for value in values:
                if type(value) in _GROWING:
                    self.add(value)

    def merged(self) -> ColumnType:
        """The type that holds everything taken in."""
        kinds = self.kinds - {type(None)}
        if kinds == {int, float} and self.low >= -_EXACT and self.high <= _EXACT:
            return ColumnType("float")
        if len(kinds) != 1:
            return ColumnType("mixed" if kinds else "null")
        (kind,) = kinds
        if kind is int:
            return ColumnType("int", low=self.low, high=self.high)
        if kind is list and self.element:
            return ColumnType("list", element=self.element.merged())
        if kind is dict and self.fields:
            return ColumnType("object", fields=None if self.fields.full else self.fields.merged())
        return _PLAIN[kind]


@dataclass(slots=True)
class Fields:
    """The columns of the rows, or the fields of the objects at one place, in the order they were first seen.

    Rows mostly repeat a few shapes (keys and types), so a shape is learnt once: for later rows of the same shape only
    the values that can still widen a type are looked at.
    """

    limit: int
    full: bool = False  #: more than ``limit`` were seen; nothing is taken in any more
    _places: dict[str, Place] = field(default_factory=dict)
    _shapes: dict[_Shape, list[tuple[str, Place]]] = field(default_factory=dict)
    _cells: int = 0

    def add(self, columns: dict[str, Json]) -> None:
        """Take in one object."""
        shape: _Shape = (*columns, *map(type, columns.values()))
        growing = self._shapes.get(shape)
        if growing is None:
            growing = self._learn(columns, shape)
        for name, place in growing:
            place.add(columns[name])

    def merged(self) -> dict[str, ColumnType]:
        """Each name with its type."""
        return {name: place.merged() for name, place in self._places.items()}

    def _learn(self, columns: dict[str, Json], shape: _Shape) -> list[tuple[str, Place]]:
        new = sum(name not in self._places for name in columns)
        if self.full or len(self._places) + new > self.limit:
            self.full = True
            self._places.clear()
            self._shapes.clear()
            return []
        for name, value in columns.items():
            self._places.setdefault(name, Place()).kinds.add(type(value))
        if self._cells + len(shape) > _MAX_CELLS:
            self._shapes.clear()
            self._cells = 0
        self._cells += len(shape)
        self._shapes[shape] = growing = [(n, self._places[n]) for n, v in columns.items() if type(v) in _GROWING]
        return growing


_GROWING = frozenset({int, list, dict})  #: types whose values differ in range or content
_PLAIN = {bool: ColumnType("bool"), float: ColumnType("float"), str: ColumnType("string")}
