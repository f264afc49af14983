"""[quality]: graders, gold rows, drift."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from llmbatch.settings.calls import LimitSettings, ProviderSettings
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
    "judge": ({"rubric"}, {"ask", "field", "gold"}),
    "similarity": ({"field", "gold"}, set()),
}
#: kinds that ask a model: a run leaves them out, `llmbatch grade` asks them
ASKING = frozenset({"judge", "similarity"})


_AT_ONCE = {"grounded", "length", "compression", "pattern", "python"}  #: kinds that need neither gold nor a call


class GraderSettings(Table):
    """[quality.graders.NAME]: one way to say how good a valid output is, from 0 to 1."""

    kind: Literal[
        "exact", "set", "rouge", "grounded", "length", "compression", "pattern", "python", "judge", "similarity"
    ]
    field: str | None = None  #: of the output
    gold: str | None = None  #: column of the row that holds what is right; never shown to the model
    source: tuple[str, ...] = ()  #: columns of the row that the output is drawn from
    least: float | None = Field(default=None, ge=0)
    most: float | None = Field(default=None, gt=0)
    unit: Literal["chars", "words"] = "chars"
    must: tuple[Pattern, ...] = ()
    must_not: tuple[Pattern, ...] = ()
    ignore_case: bool = False
    rubric: str | None = None  #: of a judge: file in the pipeline's folder, a template of what it is shown
    ask: Literal["verdict", "score", "pair"] = "verdict"  #: of a judge: right or wrong, 1 to 5, or the better of two
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
        if self.kind in ASKING and self.climb_below is not None:
            raise ValueError(f'a grader of kind "{self.kind}" asks after the run, too late for climb_below')
        if self.kind == "pattern" and not (self.must or self.must_not):
            raise ValueError('a grader of kind "pattern" needs must or must_not')
        if self.climb_below is not None and self.kind not in _AT_ONCE:
            raise ValueError(f"climb_below needs a grader that grades a row at once, without gold: {sorted(_AT_ONCE)}")
        return self


class JudgeSettings(Table):
    """[quality.judge]: the model that graders of kind "judge" ask."""

    model: str = Field(min_length=1)
    system: str | None = None  #: instead of llmbatch's own words
    params: dict[str, Any] = Field(default_factory=dict)
    rows: int = Field(default=300, ge=2, le=20_000)  #: of a run that it is asked about, unless --sample says how many
    provider: ProviderSettings = ProviderSettings()  #: unless written, the pipeline's own
    limits: LimitSettings = LimitSettings()


class EmbeddingSettings(Table):
    """[quality.embeddings]: the model that graders of kind "similarity" ask."""

    model: str = Field(min_length=1)
    params: dict[str, Any] = Field(default_factory=dict)
    rows: int = Field(default=300, ge=2, le=20_000)  #: of a run whose answers it is asked for
    provider: ProviderSettings = ProviderSettings()  #: unless written, the pipeline's own
    limits: LimitSettings = LimitSettings()


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
    judge: JudgeSettings | None = None
    embeddings: EmbeddingSettings | None = None
    graders: dict[str, GraderSettings] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _canary_is_whole(self) -> Self:
        if (self.gold is None) != (self.floor is None):
            raise ValueError("gold (the file) and floor (the share of its rows that must agree) go together")
        if self.gold is not None and all(
            grader.gold is None or grader.kind in ASKING for grader in self.graders.values()
        ):
            raise ValueError("gold rows need a grader with a gold column to hold answers against")
        return self

    @model_validator(mode="after")
    def _graders_have_whom_they_ask(self) -> Self:
        for kind, asked, table in (("judge", self.judge, "judge"), ("similarity", self.embeddings, "embeddings")):
            names = [name for name, grader in self.graders.items() if grader.kind == kind]
            if names and asked is None:
                raise ValueError(
                    f'grader {names[0]!r} is of kind "{kind}" and needs [quality.{table}] with model = "..."'
                )
            if asked is not None and asked.limits.tier == "batch":
                raise ValueError(f"quality.{table}.limits.tier: graders are asked by calls, not by batches")
        return self
