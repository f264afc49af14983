"""Precision, recall and F1 from labels: by label, micro, macro; with intervals; and what was taken for what."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from llmbatch.grade.stats import Interval, wilson
from llmbatch.grade.stats.special import normal_quantile

#: (right labels, labels of the output) of a row
Pair = tuple[frozenset[str], frozenset[str]]
_MOST_CONFUSED = 20


@dataclass(frozen=True, slots=True)
class LabelScore:
    """How well one label, or all together, was found."""

    label: str
    gold: int  #: rows that have it by gold (of all together: labels)
    right: int  #: true positives
    wrong: int  #: false positives
    missed: int  #: false negatives
    precision: float | None  #: right / (right + wrong); None when it was never given
    recall: float | None  #: right / (right + missed); None when gold never has it
    f1: float  #: 2 right / (2 right + wrong + missed)
    interval: Interval  #: of f1


@dataclass(frozen=True, slots=True)
class Confusion:
    """Rows that have a label too little and another too much."""

    gold: str  #: empty: none was missing
    given: str  #: empty: none was given in its place
    rows: int


@dataclass(frozen=True, slots=True)
class Agreement:
    """A table of F1."""

    labels: tuple[LabelScore, ...]  #: most frequent in gold first
    micro: LabelScore  #: over all labels, each counted as often as it occurs
    macro_f1: float  #: the mean of the labels' F1, each counted once
    macro_interval: Interval
    confused: tuple[Confusion, ...]  #: the most frequent mistakes


def agreement(pairs: Mapping[Pair, int], level: float = 0.95) -> Agreement | None:
    """The table of rows given as counts by pair; None when there is no label at all.

    A label's F1 is 2J / (1 + J) with J = right / (right + wrong + missed), a share of rows, so its interval is that of
    J by Wilson. Micro and macro F1 are means over rows whose labels hang together; theirs are by linearisation over
    rows (W. G. Cochran, Sampling Techniques, 3rd ed. (1977), section 6.3, for a ratio; K. Takahashi et al., Confidence
    interval for micro-averaged F1 and macro-averaged F1 scores, Applied Intelligence 52 (2022) 4961-4972).
    """
    counts = _by_label(pairs)
    if not counts:
        return None
    order = sorted(counts, key=lambda label: (-counts[label][0] - counts[label][2], label))
    labels = tuple(_score(label, counts[label], level) for label in order)
    whole = [sum(count[part] for count in counts.values()) for part in range(3)]
    f1 = {score.label: score.f1 for score in labels}
    macro = sum(f1.values()) / len(f1)
    reach_micro, reach_macro = _reaches(pairs, counts, f1, level)
    micro = _score("all", whole, level, reach_micro)
    return Agreement(labels, micro, macro, _around(macro, reach_macro), _confused(pairs))


def _by_label(pairs: Mapping[Pair, int]) -> dict[str, list[int]]:
    """True positives, false positives and false negatives of every label."""
    counts: dict[str, list[int]] = {}
    for (expected, given), rows in pairs.items():
        for part, labels in enumerate((expected & given, given - expected, expected - given)):
            for label in labels:
                counts.setdefault(label, [0, 0, 0])[part] += rows
    return counts


def _score(label: str, counts: list[int], level: float, reach: float | None = None) -> LabelScore:
    right, wrong, missed = counts
    f1 = 2 * right / (2 * right + wrong + missed)
    jaccard = wilson(right, right + wrong + missed, level)
    interval = Interval(*(2 * j / (1 + j) for j in (jaccard.low, jaccard.high)))
    return LabelScore(
        label=label,
        gold=right + missed,
        right=right,
        wrong=wrong,
        missed=missed,
        precision=right / (right + wrong) if right + wrong else None,
        recall=right / (right + missed) if right + missed else None,
        f1=f1,
        interval=interval if reach is None else _around(f1, reach),
    )


def _around(value: float, reach: float) -> Interval:
    return Interval(max(0.0, value - reach), min(1.0, value + reach))


def _reaches(
    pairs: Mapping[Pair, int], counts: Mapping[str, list[int]], f1: Mapping[str, float], level: float
) -> tuple[float, float]:
    """Half-widths of micro and macro F1: the spread of what each row moves them by."""
    weight = {label: 2 * right + wrong + missed for label, (right, wrong, missed) in counts.items()}
    whole = sum(weight.values())
    micro_f1 = 2 * sum(right for right, _, _ in counts.values()) / whole
    micro = macro = 0.0
    for (expected, given), rows in pairs.items():
        by_label = list(_moves(expected, given))
        micro += rows * sum(gain - micro_f1 * size for _, gain, size in by_label) ** 2 / whole**2
        macro += rows * sum((gain - f1[label] * size) / weight[label] for label, gain, size in by_label) ** 2
    n = sum(pairs.values())
    z = normal_quantile((1 + level) / 2) * math.sqrt(n / max(1, n - 1))
    return z * math.sqrt(micro), z * math.sqrt(macro) / len(f1)


def _moves(expected: frozenset[str], given: frozenset[str]) -> Iterator[tuple[str, int, int]]:
    """Of each label of a row: what it adds to the F1's numerator and to its denominator."""
    yield from ((label, 2, 2) for label in expected & given)
    yield from ((label, 0, 1) for label in expected ^ given)


def _confused(pairs: Mapping[Pair, int]) -> tuple[Confusion, ...]:
    found: Counter[tuple[str, str]] = Counter()
    for (expected, given), rows in pairs.items():
        missing, extra = expected - given or {""}, given - expected or {""}
        for gold in missing:
            for label in extra:
                found[gold, label] += rows if gold or label else 0
    worst = sorted(((mix, rows) for mix, rows in found.items() if rows), key=lambda pair: (-pair[1], pair[0]))
    return tuple(Confusion(*mix, rows) for mix, rows in worst[:_MOST_CONFUSED])
