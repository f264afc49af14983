"""A ladder of models in a report: rows, cost and scores by model."""

from __future__ import annotations

from dataclasses import dataclass, field

from llmbatch.report.details import Dollars


@dataclass(frozen=True, slots=True)
class RungScore:
    """What a grader says of the rows that ended at a model."""

    rows: int
    mean: float
    low: float  #: of the 95 % interval
    high: float


@dataclass(frozen=True, slots=True)
class Rung:
    """One model of a ladder."""

    model: str
    rows: int  #: that came to it, answered now or in earlier runs
    served: int  #: by its answers
    climbed: int  #: to the next model
    why: dict[str, int]  #: rows that climbed, by class, most first
    failed: int  #: rows that ended here without a valid answer of any model
    calls: int  #: of this run
    cost_usd: Dollars | None  #: of this run's answers
    unpriced_attempts: int
    usd_per_row: Dollars | None  #: of a row that came to it, re-asks included, whenever that was paid
    climb_rate: float | None  #: climbed / rows
    climb_low: float | None  #: of its 95 % interval (Wilson)
    climb_high: float | None
    break_even: float | None  #: the rate from which this model does not pay; null for the last one
    scores: dict[str, RungScore] = field(default_factory=dict)  #: by grader, of the rows that ended here


@dataclass(frozen=True, slots=True)
class Ladder:
    """All of it."""

    rungs: tuple[Rung, ...]
    usd_per_1000_rows: Dollars | None  #: of the ladder
    last_alone_usd_per_1000_rows: Dollars | None  #: of its last model, by what that took for the rows that came to it
    pays: bool | None  #: whether every model pays; null when that is unknown, or too close to tell
    verdict: str  #: in a sentence
