"""What stands behind the figures of a grader that asks a judge."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from llmbatch.grade.profile import Rate
from llmbatch.grade.stats import Interval


@dataclass(frozen=True, slots=True)
class Judged:
    """What stands behind a judge's figures. ``Graded`` beside it has the mean, corrected if labels allow it."""

    model: str  #: the judge
    ask: str  #: verdict, score, pair or similarity
    answered: int  #: rows of the run that it might have been asked about
    asked: int  #: rows that it was asked about: drawn, or labelled
    unjudged: Mapping[str, int]  #: of these, rows without a valid opinion, by class; counted as wrong
    alone: float | None  #: mean of its opinions of the drawn rows, failed rows counted as 0; not corrected
    alone_interval: Interval
    labelled: int  #: rows with a human label too
    method: str  #: how the mean was made: judge, prediction-powered or labels
    trust: float | None = None  #: of the prediction-powered mean: 0 the judge does not count, 1 it counts in full
    agreed: Rate | None = None  #: labelled rows of which it said what the person said
    right_of_right: Rate | None = None  #: sensitivity: of rows right by a person, those that it called right
    wrong_of_wrong: Rate | None = None  #: specificity: of rows wrong by a person, those that it called wrong
    plug_in: float | None = None  #: the mean by sensitivity and specificity, for comparison
    plug_in_interval: Interval | None = None  #: of it
    consistent: Rate | None = None  #: of pairs: opinions that were the same in both orders
    first: Rate | None = None  #: of pairs: of the times that it named one, those that it named the first; half, at best
    same_model: bool = False  #: the judge is the model that answered
    calls: int = 0  #: made in this command
    cost_usd: float | None = None  #: of these calls; null when a price is unknown
