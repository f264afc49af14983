"""The price table of genai-prices, held to what it really knows: it charges the standard price for a context that it
does not know, and a misspelt one is such."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import TYPE_CHECKING

from llmbatch.prices.rates import NOTHING, Prices, Rates

if TYPE_CHECKING:
    from genai_prices.types import ModelInfo, ModelPrice, Provider

_BATCH = {"processing": "batch"}


def look_up(model: str, tier: str | None, provider_id: str) -> Prices | None:
    """The model's prices at a tier now; None when the table has none. ``tier`` None is the standard one."""
    found = _find(model, provider_id)
    if found is None:
        return None
    provider, info = found
    now = datetime.now(UTC)
    context = None if tier is None else _BATCH if tier == "batch" else {"service_tier": tier}
    if context is not None and not _has_tier(provider, info, context, now):
        return None
    changes = _moments(info, now)
    return Prices(
        _steps(info.get_prices(now, context)),
        tuple(step for moment in changes for step in _steps(info.get_prices(moment, context))),
        fixed=not changes,
    )


def tiers_of(model: str, provider_id: str) -> tuple[str, ...]:
    """Service tiers that a server may serve this model at, beside the standard one."""
    found = _find(model, provider_id)
    if found is None:
        return ()
    provider, info = found
    names = {v.when["service_tier"] for v in info.price_variants or () if set(v.when) == {"service_tier"}}
    return tuple(sorted(name for name in names - {"default"} if look_up(model, name, provider.id) is not None))


def source(provider_id: str) -> str:
    """Version of the table, and the date of its newest price for this provider: it carries no other date."""
    from genai_prices import __version__
    from genai_prices.data_snapshot import find_provider_by_id, get_snapshot

    provider = find_provider_by_id(get_snapshot().providers, provider_id)
    today = datetime.now(UTC).date()
    dates = [day for info in provider.models for day in _start_dates(info) if day <= today] if provider else []
    newest = f", newest price of {max(dates)}" if dates else ""
    return f"genai-prices {__version__} ({provider_id}){newest}"


def _find(model: str, provider_id: str) -> tuple[Provider, ModelInfo] | None:
    from genai_prices.data_snapshot import get_snapshot

    try:
        return get_snapshot().find_provider_model(model, None, provider_id, None)
    except LookupError:
        return None


def _has_tier(provider: Provider, info: ModelInfo, context: dict[str, str], now: datetime) -> bool:
    """Whether the table really prices tokens at this tier, and not only a search or an image.

    A model that a provider borrows from another one's list (Azure from OpenAI) is never priced by tier.
    """
    return any(info is own for own in provider.models) and any(
        variant.when == context
        and (variant.constraint is None or variant.constraint.active(now))
        and variant.prices.input_mtok is not None
        and (variant.prices.output_mtok is not None or info.get_prices(now).output_mtok is None)
        for variant in info.price_variants or ()
    )


def _constraints(info: ModelInfo) -> Iterator[object]:
    if isinstance(info.prices, list):
        yield from (entry.constraint for entry in info.prices)
    yield from (variant.constraint for variant in info.price_variants or ())


def _start_dates(info: ModelInfo) -> Iterator[date]:
    from genai_prices.types import StartDateConstraint

    yield from (c.start_date for c in _constraints(info) if isinstance(c, StartDateConstraint))


def _moments(info: ModelInfo, now: datetime) -> list[datetime]:
    """Moments of which at least one lies in each span with another price: hours of the day, and dates to come."""
    from genai_prices.types import TimeOfDateConstraint

    days = [day for day in _start_dates(info) if day > now.date()]
    by_hour = [c for c in _constraints(info) if isinstance(c, TimeOfDateConstraint)]
    hours: Iterable[time] = [hour for c in by_hour for hour in (c.start_time, c.end_time)] or [time(0)]
    if not days and not by_hour:
        return []
    return [
        datetime.combine(day, hour if hour.tzinfo else hour.replace(tzinfo=UTC))
        for day in (now.date(), *days)
        for hour in hours
    ]


def _steps(prices: ModelPrice) -> tuple[Rates, ...]:
    from genai_prices.types import TieredPrices

    names = ("input", "output", "cache_read", "cache_write", "output_reasoning")
    listed = (*(getattr(prices, f"{name}_mtok") for name in names), prices.requests_kcount)
    starts = {tier.start for price in listed if isinstance(price, TieredPrices) for tier in price.tiers}

    def at(price: Decimal | TieredPrices | None, above: int, places: int) -> Decimal | None:
        if isinstance(price, TieredPrices):
            price = next((tier.price for tier in reversed(price.tiers) if tier.start <= above), price.base)
        return None if price is None else price.scaleb(-places)

    def rates(above: int) -> Rates:
        fresh, output, cached, cache_write, reasoning = (at(price, above, 6) for price in listed[:-1])
        return Rates(
            fresh,
            output,
            fresh if cached is None else cached,
            fresh if cache_write is None else cache_write,
            output if reasoning is None else reasoning,
            at(listed[-1], above, 3) or NOTHING,
            above,
        )

    return tuple(rates(above) for above in (-1, *sorted(starts)))
