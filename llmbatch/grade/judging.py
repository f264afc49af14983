"""What a judge's opinions of a sample come to, put right by human labels where there are any."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Literal

from llmbatch.grade.judged import Judged
from llmbatch.grade.opinion import Ask, Opinion
from llmbatch.grade.profile import Rate
from llmbatch.grade.scores import Graded, counted, interval_of, rows_wanted
from llmbatch.grade.stats import Estimate, Interval, prediction_powered, rogan_gladen, wilson

LEAST_LABELS = 20  #: fewer say too little of a judge to put it right by


@dataclass(frozen=True, slots=True)
class Asked:
    """What is known beside the opinions."""

    name: str
    model: str
    ask: Ask | Literal["similarity"]
    answered: int  #: rows with an answer, and gold where the grader has it
    failed: int  #: rows without a valid answer: wrong, and nobody is asked
    ungraded: int  #: rows without gold
    passes: float = 1.0
    floor: float | None = None
    same_model: bool = False


def judged(asked: Asked, opinions: Sequence[Opinion]) -> Graded:
    """The figures of a grader that asks a judge.

    Rows that failed are known to be wrong without asking; so the mean is that of the answers times the part of the rows
    that have one. An answer without a valid opinion counts as wrong.
    """
    drawn = [opinion for opinion in opinions if opinion.drawn]
    part = asked.answered / max(1, asked.answered + asked.failed)
    alone = _alone(drawn)
    method, found = _corrected(opinions, two_valued=asked.ask == "verdict") or ("judge", alone)
    passed = sum(_value(one) >= asked.passes for one in opinions)
    return Graded(
        name=asked.name,
        rows=len(opinions) + asked.failed,
        failed=asked.failed,
        ungraded=asked.ungraded,
        mean=found.value * part if opinions or asked.failed else None,
        interval=_scaled(found.interval, part),
        passes=asked.passes,
        passed=passed,
        pass_interval=wilson(passed, len(opinions)),
        wanted_rows=rows_wanted(counted(map(_value, drawn))),
        floor=asked.floor,
        judged=_behind(asked, opinions, alone, part, method, found),
    )


def _behind(
    asked: Asked, opinions: Sequence[Opinion], alone: Estimate, part: float, method: str, found: Estimate
) -> Judged:
    known = Judged(
        model=asked.model,
        ask=asked.ask,
        answered=asked.answered,
        asked=len(opinions),
        unjudged=dict(Counter(one.failure or "not asked" for one in opinions if one.value is None).most_common()),
        alone=alone.value * part if opinions or asked.failed else None,
        alone_interval=_scaled(alone.interval, part),
        labelled=sum(one.human is not None for one in opinions),
        method=method,
        trust=found.trust if method == "prediction-powered" else None,
        same_model=asked.same_model,
    )
    if asked.ask == "pair":
        orders = [one for one in opinions if one.consistent is not None]
        consistent = Rate(sum(one.consistent is True for one in orders), len(orders))
        named = [name for one in orders for name in one.named]
        return replace(known, consistent=consistent, first=Rate(named.count("first"), len(named)))
    return _beside_labels(known, opinions, part) if asked.ask == "verdict" else known


def _beside_labels(known: Judged, opinions: Sequence[Opinion], part: float) -> Judged:
    """How a judge that says right or wrong did on the labelled rows, and what that alone makes of the rest."""
    pairs = [(one.human >= 0.5, _value(one) >= 0.5) for one in opinions if one.human is not None]
    if not pairs:
        return known
    right = [said for human, said in pairs if human]
    wrong = [not said for human, said in pairs if not human]
    yes = sum(_value(one) >= 0.5 for one in opinions if one.drawn)
    said = (yes, sum(one.drawn for one in opinions))
    plug_in = rogan_gladen(said, (sum(right), len(right)), (sum(wrong), len(wrong)))
    return replace(
        known,
        agreed=Rate(sum(human == said for human, said in pairs), len(pairs)),
        right_of_right=Rate(sum(right), len(right)),
        wrong_of_wrong=Rate(sum(wrong), len(wrong)),
        plug_in=None if plug_in is None else plug_in.value * part,
        plug_in_interval=None if plug_in is None else _scaled(plug_in.interval, part),
    )


def _value(one: Opinion) -> float:
    return 0.0 if one.value is None else one.value


def _alone(drawn: Sequence[Opinion]) -> Estimate:
    values = list(map(_value, drawn))
    return Estimate(fmean(values) if values else 0.0, interval_of(counted(values)))


def _corrected(opinions: Sequence[Opinion], *, two_valued: bool) -> tuple[str, Estimate] | None:
    """By human labels; None when they are too few."""
    labelled = [(one.human, _value(one)) for one in opinions if one.human is not None]
    human = [label for label, _ in labelled]
    rest = [_value(one) for one in opinions if one.human is None and one.drawn]
    if len(human) < LEAST_LABELS:
        return None
    two_valued = two_valued and set(human) <= {0.0, 1.0}
    if len(rest) < 2:
        return "labels", Estimate(fmean(human), interval_of(counted(human)))
    same = [value for _, value in labelled]
    return "prediction-powered", prediction_powered(human, same, rest, two_valued=two_valued)


def _scaled(interval: Interval, part: float) -> Interval:
    return Interval(interval.low * part, interval.high * part)
