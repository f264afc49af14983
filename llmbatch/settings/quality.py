"""[quality]: graders, gold rows, drift."""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from llmbatch.settings.table import Share, Table


def _a_pattern(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"no regular expression: {error}") from None
    return text


Pattern = Annotated[str, AfterValidator(_a_pattern)]

#: What each kind of grader must be told beside its kind, and what it may be told.
GRADERS: dict[str, tuple[set[str], set[str]]] = {
    "exact": ({"field", "gold"}, {"ignore_case"}),
    "set": ({"field", "gold"}, {"ignore_case"}),
    "rouge": ({"field", "gold"}, set()),
    "grounded": ({"field", "source"}, set()),
    "length": ({"field"}, {"least", "most", "unit"}),
    "compression": ({"field", "source"}, {"least", "most"}),
    "pattern": ({"field"}, {"must", "must_not", "ignore_case"}),
    "python": (set(), set()),
}


_AT_ONCE = {"grounded", "length", "compression", "pattern", "python"}  #: kinds that need neither gold nor a call


class GraderSettings(Table):
    """[quality.graders.NAME]: one way to say how good a valid output is, from 0 to 1."""

    kind: Literal["exact", "set", "rouge", "grounded", "length", "compression", "pattern", "python"]
    field: str | None = None  #: of the output
    gold: str | None = None  #: column of the row that holds what is right; never shown to the model
    source: tuple[str, ...] = ()  #: columns of the row that the output is drawn from
    least: float | None = Field(default=None, ge=0)
    most: float | None = Field(default=None, gt=0)
    unit: Literal["chars", "words"] = "chars"
    must: tuple[Pattern, ...] = ()
    must_not: tuple[Pattern, ...] = ()
    ignore_case: bool = False
    passes: Share = 1.0  #: the score from which a row counts as right
    floor: Share | None = None  #: the mean score below which the run fails, exit 7
    climb_below: Share | None = None  #: the score of a row below which the next model of the ladder is asked

    @model_validator(mode="after")
    def _fits_its_kind(self) -> Self:
        needs, may = GRADERS[self.kind]
        told = self.model_fields_set - {"kind", "passes", "floor", "climb_below"}
        if missing := sorted(needs - told):
            raise ValueError(f'a grader of kind "{self.kind}" needs {", ".join(missing)}')
        if strange := sorted(told - needs - may):
            raise ValueError(f'a grader of kind "{self.kind}" takes no {", ".join(strange)}')
        if self.kind == "pattern" and not (self.must or self.must_not):
            raise ValueError('a grader of kind "pattern" needs must or must_not')
        if self.climb_below is not None and self.kind not in _AT_ONCE:
            raise ValueError(f"climb_below needs a grader that grades a row at once, without gold: {sorted(_AT_ONCE)}")
        return self


class QualitySettings(Table):
    """[quality]: how good outputs must be; not hashed."""

    on_drift: Literal["warn", "fail", "off"] = "warn"
    trailing: int = Field(default=14, ge=1, le=60)  #: runs before this one to compare with
    min_change: Share = 0.01  #: a share or score that moved less is no alarm, however many rows show it
    rows: int = Field(
        default=5_000, ge=100
    )  #: of the newly answered rows, and of all, graded at most; chosen by their keys
    gold: str | None = None  #: file of rows with gold, in the pipeline's folder; they are asked first
    floor: Share | None = None  #: of gold rows that must be answered as they should be
    graders: dict[str, GraderSettings] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _canary_is_whole(self) -> Self:
        if (self.gold is None) != (self.floor is None):
            raise ValueError("gold (the file) and floor (the share of its rows that must agree) go together")
        if self.gold is not None and all(grader.gold is None for grader in self.graders.values()):
            raise ValueError("gold rows need a grader with a gold column to hold answers against")
        return self
