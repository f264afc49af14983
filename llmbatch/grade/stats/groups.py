"""Tests of two groups: shares, paired answers, means."""

from __future__ import annotations

import math

from llmbatch.grade.stats.special import binomial_at_most, normal_above, student_above

_RARE = 10  #: expected counts below this get the exact test


def two_proportion(k1: int, n1: int, k2: int, n2: int) -> float:
    """The pooled z of ``k1/n1 - k2/n2``: approximately standard normal when both shares are the same.

    As in J. L. Fleiss, Statistical Methods for Rates and Proportions, 2nd ed. (1981), section 2.1, without continuity
    correction. 0 where nothing varies.
    """
    pooled = (k1 + k2) / (n1 + n2)
    spread = math.sqrt(pooled * (1 - pooled) * (1 / n1 + 1 / n2))
    return (k1 / n1 - k2 / n2) / spread if spread else 0.0


def fisher(k1: int, n1: int, k2: int, n2: int) -> float:
    """The exact one-sided p that the first group has ``k1`` or more of the ``k1 + k2`` successes.

    R. A. Fisher, Statistical Methods for Research Workers, 5th ed. (1934), section 21.02: the hypergeometric tail.
    """
    successes, total = k1 + k2, n1 + n2
    top = min(successes, n1)
    log_term = (
        _log_choose(n1, k1) + _log_choose(n2, successes - k1) - _log_choose(total, successes)
    )  # P(exactly k1); each further one by the ratio of neighbours
    term = math.exp(log_term)
    p = term
    for k in range(k1, top):
        term *= (n1 - k) * (successes - k) / ((k + 1) * (n2 - successes + k + 1))
        p += term
        if term < p * 1e-15 and k > successes * n1 / total:
            break
    return min(1.0, p)


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


def more_often(k1: int, n1: int, k2: int, n2: int) -> float:
    """One-sided p that the first group's share is higher: exact where counts are few, else by z.

    The exact tail is used when any expected count is below 10. 1 when a group is empty.
    """
    if n1 == 0 or n2 == 0:
        return 1.0
    rarer = min(k1 + k2, n1 + n2 - k1 - k2)
    if rarer * min(n1, n2) < _RARE * (n1 + n2):
        return fisher(k1, n1, k2, n2)
    return normal_above(two_proportion(k1, n1, k2, n2))


def mcnemar(better: int, worse: int) -> float:
    """The exact two-sided p that rows changed from right to wrong as often as from wrong to right.

    Q. McNemar, Note on the sampling error of the difference between correlated proportions, Psychometrika 12 (1947)
    153-157, with binomial in place of normal probabilities. Rows that did not change do not count.
    """
    return min(1.0, 2 * binomial_at_most(min(better, worse), better + worse, 0.5)) if better + worse else 1.0


def welch(mean1: float, variance1: float, n1: int, mean2: float, variance2: float, n2: int) -> float:
    """One-sided p that the first group's mean is higher, whatever the variances (each by n - 1).

    B. L. Welch, The generalization of Student's problem when several different population variances are involved,
    Biometrika 34 (1947) 28-35. 1 for groups of fewer than two.
    """
    if n1 < 2 or n2 < 2:
        return 1.0
    one, two = variance1 / n1, variance2 / n2
    if one + two == 0:
        return 0.0 if mean1 > mean2 else 1.0
    df = (one + two) ** 2 / (one**2 / (n1 - 1) + two**2 / (n2 - 1))
    return student_above((mean1 - mean2) / math.sqrt(one + two), df)


def cohens_h(p1: float, p2: float) -> float:
    """The distance of two shares on a scale where chance is equally large everywhere: 0.05 is 2.5 points at 50 %.

    J. Cohen, Statistical Power Analysis for the Behavioral Sciences, 2nd ed. (1988), chapter 6: 2 asin(sqrt(p)).
    """
    return 2 * math.asin(math.sqrt(p1)) - 2 * math.asin(math.sqrt(p2))
