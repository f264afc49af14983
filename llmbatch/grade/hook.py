"""A grader that a pipeline's hooks.py defines."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from llmbatch.grade.score import WRONG, Columns, Output, Score

Hook = Callable[[dict[str, Any], dict[str, Any]], float]

FAULT = Score(0.0, {"faults": 1.0})


@dataclass(frozen=True, slots=True)
class Python:
    """``grade(output, row) -> float`` from 0 to 1, or None for a row that cannot be graded.

    One that raises, or returns something else, gives the row 0 and the detail ``faults``: it must not look like a pass.
    """

    function: Hook

    def grade(self, output: Output | None, row: Columns) -> Score | None:
        """Call it with copies; what it changes changes nothing."""
        if output is None:
            return WRONG
        try:
            value: Any = self.function(copy.deepcopy(dict(output)), copy.deepcopy(dict(row)))
        except Exception:  # noqa: BLE001 - a user's code may raise anything; it costs that row, not the report
            return FAULT
        if value is None:
            return None
        if not isinstance(value, int | float) or not 0 <= value <= 1:
            return FAULT
        return Score(float(value), {"faults": 0.0})
