"""The prices of pipeline.toml's [prices.MODEL], or of a --prices file."""

from __future__ import annotations

from decimal import Decimal

from llmbatch.prices.rates import NOTHING, Prices, Rates
from llmbatch.settings import PriceSettings, TokenPrices

_BY_TOKEN_UNKNOWN = Rates(None, None, None, None, None)


def own_prices(price: PriceSettings, tier: str | None) -> Prices | None:
    """The price at a tier; ``tier`` None is the standard one.

    When no tier has a price of its own, this one counts for all of them. When one has, the price of the others is
    unknown.
    """
    if price.usd_per_hour is not None:
        return Prices((_BY_TOKEN_UNKNOWN,), usd_per_hour=price.usd_per_hour)
    tiers = {name: given for name in ("flex", "batch", "priority") if (given := getattr(price, name)) is not None}
    if tier is None or not tiers:
        return _by_token(price)
    given = tiers.get(tier)
    if isinstance(given, Decimal):
        return _by_token(price, given)
    return None if given is None else _by_token(given)


def _by_token(price: TokenPrices, part: Decimal = Decimal(1)) -> Prices:
    assert price.input is not None
    assert price.output is not None
    fresh, output = price.input, price.output
    cached = fresh if price.cached is None else price.cached
    cache_write = fresh if price.cache_write is None else price.cache_write
    reasoning = output if price.reasoning is None else price.reasoning

    def a_token(dollars: Decimal) -> Decimal:
        return dollars.scaleb(-6) * part

    return Prices((Rates(a_token(fresh), a_token(output), a_token(cached), a_token(cache_write), a_token(reasoning)),))


#: what the offline provider's models cost
FREE = Prices((Rates(NOTHING, NOTHING, NOTHING, NOTHING, NOTHING),))
