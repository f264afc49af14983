"""How far two distributions are apart: Kolmogorov-Smirnov, PSI, Jensen-Shannon."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from typing import Any

_HALF = 0.5  #: added to each count, so that a value that one side lacks does not make PSI infinite


def ks_statistic(one: Mapping[Any, int], two: Mapping[Any, int]) -> float:
    """The largest distance of two cumulative distributions, each given as counts by ordered value (or bucket)."""
    n1, n2 = sum(one.values()), sum(two.values())
    below1 = below2 = 0
    most = 0.0
    for value in sorted({*one, *two}):
        below1 += one.get(value, 0)
        below2 += two.get(value, 0)
        most = max(most, abs(below1 / n1 - below2 / n2))
    return most


def ks_p(distance: float, n1: int, n2: int) -> float:
    """The p of a two-sample Kolmogorov-Smirnov distance; too large (safe) where values are tied or in buckets.

    M. A. Stephens, Use of the Kolmogorov-Smirnov, Cramer-von Mises and related statistics without extensive tables,
    JRSS B 32 (1970) 115-122: the limit distribution at (sqrt(n) + 0.12 + 0.11 / sqrt(n)) D, n = n1 n2 / (n1 + n2).
    """
    root = math.sqrt(n1 * n2 / (n1 + n2))
    x = (root + 0.12 + 0.11 / root) * distance
    if x < 0.2:
        return 1.0
    terms = ((1 if j % 2 else -1) * math.exp(-2 * (j * x) ** 2) for j in range(1, 101))
    return min(1.0, max(0.0, 2 * sum(terms)))


def psi(now: Mapping[Hashable, int], before: Mapping[Hashable, int]) -> float:
    """The population stability index: the sum of (p - q) ln(p / q) over the values; 0 when equal, no upper bound.

    Kullback and Leibler's symmetric divergence (On information and sufficiency, Annals of Mathematical Statistics 22
    (1951) 79-86), under the name that credit scoring gave it. Each count has 1/2 added.
    """
    values = {*now, *before}
    n, m = sum(now.values()) + _HALF * len(values), sum(before.values()) + _HALF * len(values)
    pairs = (((now.get(v, 0) + _HALF) / n, (before.get(v, 0) + _HALF) / m) for v in values)
    return sum((p - q) * math.log(p / q) for p, q in pairs)


def jensen_shannon(now: Mapping[Hashable, int], before: Mapping[Hashable, int]) -> float:
    """The Jensen-Shannon divergence in bits: 0 when equal, 1 when nothing is shared.

    J. Lin, Divergence measures based on the Shannon entropy, IEEE Trans. Information Theory 37 (1991) 145-151.
    """
    n, m = sum(now.values()), sum(before.values())
    if not n or not m:
        return 0.0
    total = 0.0
    for value in {*now, *before}:
        p, q = now.get(value, 0) / n, before.get(value, 0) / m
        middle = (p + q) / 2
        total += sum(0.5 * share * math.log2(share / middle) for share in (p, q) if share)
    return max(0.0, total)
