"""What a judge's many verdicts are worth, given human labels of a few rows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, variance

from llmbatch.grade.stats.intervals import Interval
from llmbatch.grade.stats.special import normal_quantile, student_quantile


@dataclass(frozen=True, slots=True)
class Estimate:
    """A corrected mean."""

    value: float
    interval: Interval
    trust: float = 1.0  #: how much the judge counts: 0 as if it had not been asked, 1 in full


def prediction_powered(
    human: Sequence[float],
    judge_of_same: Sequence[float],
    judge_of_rest: Sequence[float],
    level: float = 0.95,
    *,
    two_valued: bool = False,
) -> Estimate:
    """The mean that humans would have given: the judge's mean of the rest, put right by its error where humans looked.

    A. N. Angelopoulos, S. Bates, C. Fannjiang, M. I. Jordan, T. Zrnic, Prediction-powered inference, Science 382 (2023)
    669-674, for a mean; with the weight of A. N. Angelopoulos, J. C. Duchi, T. Zrnic, PPI++ (arXiv:2311.01453), section
    6: a judge that agrees with nobody is not listened to, so it never does worse than the human labels alone. Values
    are in 0..1; the two groups are chosen at random from the same rows. Wants two or more of each.

    The paper's interval is one for many labels. For few it is Student's instead of the normal one; and where both know
    0 and 1 only (``two_valued``), half a row is added to each of the four ways in which they can agree or not, as in A.
    Agresti, Y. Min, Simple improved confidence intervals for comparing matched proportions, Statistics in Medicine 24
    (2005) 729-740: else a judge that was never wrong on 30 labels would be taken for one that never is.
    """
    n, m = len(human), len(judge_of_rest)
    pairs = [(y, f, 1.0) for y, f in zip(human, judge_of_same, strict=True)]
    moments = _Moments.of(pairs + [(y, f, 0.5) for y in (0.0, 1.0) for f in (0.0, 1.0)] * two_valued)
    mean_rest = fmean(judge_of_rest)
    spread = variance([*judge_of_same, *judge_of_rest])
    trust = min(1.0, max(0.0, moments.together / ((1 + n / m) * spread))) if spread else 0.0
    centre = moments.human + trust * (mean_rest - moments.judge)
    errors = moments.spread_human - 2 * trust * moments.together + trust**2 * moments.spread_judge
    error = math.sqrt(max(0.0, errors) / moments.rows + trust**2 * variance(judge_of_rest) / m)
    reach = student_quantile((1 + level) / 2, n - 1) * error
    value = fmean(human) + trust * (mean_rest - fmean(judge_of_same))
    low, high, value = map(_cut, (centre - reach, centre + reach, value))
    return Estimate(value, Interval(min(low, value), max(high, value)), trust)


@dataclass(frozen=True, slots=True)
class _Moments:
    """Of rows that human and judge have valued: means, variances and covariance, by ``rows`` - 1."""

    rows: float
    human: float
    judge: float
    spread_human: float
    spread_judge: float
    together: float

    @classmethod
    def of(cls, pairs: Sequence[tuple[float, float, float]]) -> _Moments:
        """From (human, judge, weight)."""
        rows = sum(weight for _, _, weight in pairs)
        human, judge = (sum(pair[which] * pair[2] for pair in pairs) / rows for which in (0, 1))

        def moment(one: int, two: int) -> float:
            means = (human, judge)
            return sum((p[one] - means[one]) * (p[two] - means[two]) * p[2] for p in pairs) / (rows - 1)

        return cls(rows, human, judge, moment(0, 0), moment(1, 1), moment(0, 1))


def rogan_gladen(
    said_yes: tuple[int, int], right_of_yes: tuple[int, int], right_of_no: tuple[int, int], level: float = 0.95
) -> Estimate | None:
    """The true share of yes behind a yes-or-no judge: ``(yes + specificity - 1) / (sensitivity + specificity - 1)``.

    Each pair is (how many, of how many): rows the judge calls yes; of rows that are yes by a human, those that it calls
    yes; of rows that are no by a human, those that it calls no. None when it is no better than a coin.

    W. J. Rogan, B. Gladen, Estimating prevalence from the results of a screening test, American Journal of Epidemiology
    107 (1978) 71-76, with its delta-method variance. Plug-in: rows of both kinds must have been labelled.
    """
    if not (said_yes[1] and right_of_yes[1] and right_of_no[1]):
        return None
    share, sensitivity, specificity = (k / n for k, n in (said_yes, right_of_yes, right_of_no))
    skill = sensitivity + specificity - 1
    if skill <= 0:
        return None
    value = (share + specificity - 1) / skill
    spread = (
        share * (1 - share) / said_yes[1]
        + value**2 * sensitivity * (1 - sensitivity) / right_of_yes[1]
        + (1 - value) ** 2 * specificity * (1 - specificity) / right_of_no[1]
    ) / skill**2
    reach = normal_quantile((1 + level) / 2) * math.sqrt(spread)
    low, high, value = map(_cut, (value - reach, value + reach, value))
    return Estimate(value, Interval(low, high))


def _cut(share: float) -> float:
    return min(1.0, max(0.0, share))
