"""A number within a schema's bounds."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from fractions import Fraction

from llmbatch.types import Json


def fit(schema: Mapping[str, Json], wanted: float, *, integer: bool) -> int | float:
    """The number nearest to ``wanted`` that obeys minimum, maximum, their exclusive forms and multipleOf.

    Where none does, one that obeys some of them.
    """
    low, low_open = _bound(schema, "minimum", "exclusiveMinimum", max)
    high, high_open = _bound(schema, "maximum", "exclusiveMaximum", min)
    step = _step(schema, integer=integer)
    value = Fraction(str(wanted))
    if step is None:
        return float(_inside(value, low, high, low_open=low_open, high_open=high_open))
    factor = Fraction(round(value / step))
    if high is not None:
        top = high / step
        factor = min(factor, Fraction(math.ceil(top) - 1 if high_open else math.floor(top)))
    if low is not None:
        bottom = low / step
        factor = max(factor, Fraction(math.floor(bottom) + 1 if low_open else math.ceil(bottom)))
    value = factor * step
    return int(value) if value.denominator == 1 else float(value)


def span(schema: Mapping[str, Json]) -> tuple[float, float]:
    """The range a share such as a confidence is told in: the schema's bounds, by default 0 to 1."""
    low, _ = _bound(schema, "minimum", "exclusiveMinimum", max)
    high, _ = _bound(schema, "maximum", "exclusiveMaximum", min)
    bottom = 0.0 if low is None else float(low)
    return bottom, (bottom + 1 if high is None else float(high))


def _bound(
    schema: Mapping[str, Json], closed: str, open_: str, tighter: Callable[..., Fraction]
) -> tuple[Fraction | None, bool]:
    ends = [(Fraction(str(schema[name])), name == open_) for name in (closed, open_) if _is_number(schema.get(name))]
    if not ends:
        return None, False
    edge = tighter(value for value, _ in ends)
    return edge, (edge, True) in ends


def _step(schema: Mapping[str, Json], *, integer: bool) -> Fraction | None:
    step = Fraction(str(schema["multipleOf"])) if _is_number(schema.get("multipleOf")) else None
    if not integer:
        return step
    return Fraction(step.numerator) if step else Fraction(1)  # p/q in lowest terms: its whole multiples are p's


def _inside(
    value: Fraction, low: Fraction | None, high: Fraction | None, *, low_open: bool, high_open: bool
) -> Fraction:
    too_low = low is not None and (value < low or (low_open and value == low))
    too_high = high is not None and (value > high or (high_open and value == high))
    if not too_low and not too_high:
        return value
    if low is not None and high is not None:
        return (low + high) / 2 if low_open or high_open else (low if too_low else high)
    edge, is_open = (low, low_open) if too_low else (high, high_open)
    assert edge is not None
    return edge + (0 if not is_open else 1 if too_low else -1)


def _is_number(value: Json) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
