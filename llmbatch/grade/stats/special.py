"""The few special functions that the tests and intervals need."""

from __future__ import annotations

import math
from statistics import NormalDist

_NORMAL = NormalDist()
_TINY = 1e-300


def normal_quantile(p: float) -> float:
    """The standard normal value below which a share ``0 < p < 1`` lies."""
    return _NORMAL.inv_cdf(p)


def normal_above(z: float) -> float:
    """The standard normal probability of a value above ``z``; exact in the far tail, where 1 - cdf is not."""
    return 0.5 * math.erfc(z / math.sqrt(2))


def normal_for(above: float) -> float:
    """The ``z`` with :func:`normal_above` = ``above``; finite even for 0 (z about 37)."""
    return -_NORMAL.inv_cdf(min(max(above, _TINY), 1 - 1e-16))


def beta_below(x: float, a: float, b: float) -> float:
    """The regularised incomplete beta function I_x(a, b), for ``a, b > 0``.

    By Lentz's continued fraction (Press et al., Numerical Recipes, 3rd ed., section 6.4), to about 1e-12.
    """
    if x <= 0 or x >= 1:
        return 0.0 if x <= 0 else 1.0
    if x > (a + 1) / (a + b + 2):  # the fraction converges fast on this side only
        return 1 - beta_below(1 - x, b, a)
    log_front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    return math.exp(log_front) * _fraction(x, a, b) / a


def _fraction(x: float, a: float, b: float) -> float:
    c, d = 1.0, 1 / _not_zero(1 - (a + b) * x / (a + 1))
    value = d
    for m in range(1, 100_000):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for step in (even, odd):
            d = 1 / _not_zero(1 + step * d)
            c = _not_zero(1 + step / c)
            value *= c * d
        if abs(c * d - 1) < 1e-14:
            break
    return value


def _not_zero(value: float) -> float:
    return value if abs(value) > _TINY else _TINY


def beta_quantile(p: float, a: float, b: float) -> float:
    """The ``x`` with I_x(a, b) = ``p``, by bisection to 1e-12."""
    low, high = 0.0, 1.0
    while high - low > 1e-12:
        middle = (low + high) / 2
        if beta_below(middle, a, b) < p:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def binomial_at_most(k: int, n: int, p: float) -> float:
    """The probability of at most ``k`` successes in ``n`` trials: I_{1-p}(n - k, k + 1)."""
    if k < 0 or k >= n:
        return 0.0 if k < 0 else 1.0
    return beta_below(1 - p, n - k, k + 1)


def student_above(t: float, df: float) -> float:
    """The probability of a value above ``t`` under Student's t with ``df`` degrees of freedom."""
    half = 0.5 * beta_below(df / (df + t * t), df / 2, 0.5)
    return half if t >= 0 else 1 - half


def student_quantile(p: float, df: float) -> float:
    """The value of Student's t below which a share ``0.5 <= p < 1`` lies."""
    x = beta_quantile(2 * (1 - p), df / 2, 0.5)
    return math.sqrt(df * (1 - x) / x) if x else math.inf
