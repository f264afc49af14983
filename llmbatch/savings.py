"""What an answer would have cost without the provider's cache, and at the standard tier."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

from llmbatch.prices import PriceTable
from llmbatch.tally import Saved
from llmbatch.types import Attempt, Usage

_CHEAPER = frozenset({"batch", "flex"})


def savings(prices: PriceTable, asked: str) -> Callable[[Attempt], Saved | None]:
    """A function from an attempt to its savings; None where there can be none, which costs next to nothing.

    By the cache: the cached tokens at the price of fresh ones, at the tier that served, less what was paid. By the
    tier: the same usage at the standard price, less what was paid; only for batch and flex. A part is None when one of
    the two prices is unknown. ``asked`` is the request's model.
    """

    def of(attempt: Attempt) -> Saved | None:
        reply = attempt.reply
        if reply is None or reply.usage is None or attempt.cost_usd is None:
            return None
        cached, cheaper = reply.usage.cached > 0, reply.tier in _CHEAPER
        if not cached and not cheaper:
            return None
        own = attempt.model or asked
        fresh = prices.cost(_uncached(reply.usage), reply.model, reply.tier, own) if cached else None
        standard = prices.cost(reply.usage, reply.model, None, own) if cheaper else None
        return Saved(_less(fresh, attempt.cost_usd), _less(standard, attempt.cost_usd))

    return of


def _uncached(usage: Usage) -> Usage:
    return Usage(usage.input, usage.output, 0, usage.cache_write, usage.reasoning)


def _less(price: Decimal | None, paid: Decimal) -> Decimal | None:
    return None if price is None else price - paid
