"""Agreement with gold: one label, or a set of them."""

from __future__ import annotations

from dataclasses import dataclass

from llmbatch.grade.score import Columns, Output, Score, label_of
from llmbatch.types import Json


@dataclass(frozen=True, slots=True)
class Exact:
    """1 when a field is the gold column's value, else 0: accuracy. Lists and objects must be equal as JSON."""

    field: str
    gold: str
    ignore_case: bool = False

    def grade(self, output: Output | None, row: Columns) -> Score | None:
        """Compare; the labels are the two values."""
        if row.get(self.gold) is None:
            return None
        expected = frozenset({label_of(row[self.gold], ignore_case=self.ignore_case)})
        given = self._given(output)
        return Score(float(expected == given), {}, expected, given)

    def _given(self, output: Output | None) -> frozenset[str]:
        if output is None or output.get(self.field) is None:
            return frozenset()
        return frozenset({label_of(output[self.field], ignore_case=self.ignore_case)})


@dataclass(frozen=True, slots=True)
class SetAgreement:
    """How far a list of labels is the gold list, in no order: the F1 of the row, 2|A and B| / (|A| + |B|).

    That is L. R. Dice's coefficient (Measures of the amount of ecologic association between species, Ecology 26 (1945)
    297-302); 1 when both are empty. Details: ``precision`` and ``recall`` where they are defined, ``exact``.
    """

    field: str
    gold: str
    ignore_case: bool = False

    def grade(self, output: Output | None, row: Columns) -> Score | None:
        """Compare; a value that is no list is a list of one, null an empty one (of the gold: no gold)."""
        if row.get(self.gold) is None:
            return None
        expected = self._labels(row[self.gold])
        given = self._labels(output.get(self.field)) if output is not None else frozenset()
        right = len(expected & given)
        both = len(expected) + len(given)
        value = 2 * right / both if both else float(output is not None)
        details = {"exact": float(output is not None and expected == given)}
        if given:
            details["precision"] = right / len(given)
        if expected:
            details["recall"] = right / len(expected)
        return Score(value, details, expected, given)

    def _labels(self, value: Json) -> frozenset[str]:
        values = value if isinstance(value, list) else [] if value is None else [value]
        return frozenset(label_of(each, ignore_case=self.ignore_case) for each in values)
