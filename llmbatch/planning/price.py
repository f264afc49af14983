"""Rows, sizes and what is known of a row -> tokens and dollars."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from llmbatch.planning.learned import Learned
from llmbatch.planning.model import Amount
from llmbatch.planning.sizes import Sizes

#: dollars of a call by its tokens (input, cached, cache-write, output, reasoning); None when no price is known
PriceOf = Callable[[float, float, float, float, float], float | None]


@dataclass(frozen=True, slots=True)
class Costs:
    """Of all rows that are asked."""

    calls: Amount
    input_tokens: Amount
    output_tokens: Amount
    cached_tokens: float
    cost_usd: Amount | None


def costs(sizes: Sizes, learned: Learned, price_of: PriceOf, *, rows: int | None = None) -> Costs:
    """Tokens and dollars of the requests in ``sizes``; of so many ``rows`` of them, if that is fewer.

    Dollars are worked out per step of size, because long inputs may have another price.
    """
    part = 1.0 if rows is None or not sizes.count else rows / sizes.count
    inputs, dollars = [], []
    for which in ("low", "likely", "high"):
        frame, per_rule = getattr(learned.frame, which), getattr(learned.per_rule, which)
        output = getattr(learned.output, which)
        tokens, usd = 0.0, 0.0
        for count, size in sizes.by_size.values():
            a_row = frame + size / count * sizes.tokens_per_byte * per_rule
            price = _a_row(a_row, output, learned, getattr(learned.calls, which), price_of)
            tokens += count * a_row
            usd += count * (float("nan") if price is None else price)
        inputs.append(tokens * part)
        dollars.append(usd * part)
    known = not any(map(math.isnan, dollars))
    total = Amount(*inputs)
    return Costs(
        calls=learned.calls * (sizes.count * part),
        input_tokens=total,
        output_tokens=learned.output * (sizes.count * part),
        cached_tokens=total.likely * learned.cached_share,
        cost_usd=Amount(*dollars) if known else None,
    )


def _a_row(input_tokens: float, output: float, learned: Learned, calls: float, price_of: PriceOf) -> float | None:
    """Dollars of a row: of so many calls, each with its part of the tokens."""
    calls = max(calls, 1e-9)
    fresh, spoken = input_tokens / calls, output / calls
    cached, written = fresh * learned.cached_share, fresh * learned.cache_write_share
    price = price_of(fresh, cached, written, spoken, spoken * learned.reasoning_share)
    return None if price is None else calls * price
