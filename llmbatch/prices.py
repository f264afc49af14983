"""What a call costs: usage, model and tier -> dollars, or None when no price is known.

A pipeline's own ``[prices.MODEL]`` come first, then the table of genai-prices for the provider that is really asked.
Unknown is None, never 0. genai-prices takes 0.14 s to import, so it is imported when the first price is looked up.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from llmbatch.settings import PriceSettings
from llmbatch.types import STANDARD, Usage

if TYPE_CHECKING:
    from genai_prices.types import ModelPrice, PriceCalculation

_HOSTS = {
    "api.openai.com": "openai",
    "api.anthropic.com": "anthropic",
    "generativelanguage.googleapis.com": "google",
    "api.mistral.ai": "mistral",
    "api.groq.com": "groq",
    "api.together.xyz": "together",
    "openrouter.ai": "openrouter",
    "api.x.ai": "x-ai",
    "api.deepseek.com": "deepseek",
    "api.fireworks.ai": "fireworks",
    "api.cerebras.ai": "cerebras",
    "api.perplexity.ai": "perplexity",
    "api.novita.ai": "novita",
    "api.moonshot.ai": "moonshotai",
    "api.cohere.com": "cohere",
    "api.z.ai": "zai",
}
_AZURE = (".openai.azure.com", ".cognitiveservices.azure.com", ".services.ai.azure.com")
_DATE = re.compile(r"[-@]\d{4}[\d-]*$")
_FREE_PREFIX = "offline/"


def provider_of(base_url: str | None) -> str | None:
    """The genai-prices id of the provider behind ``base_url``; None for any other server.

    Whole host names count, so a server of one's own that calls a model gpt-4o is not priced as OpenAI, nor is
    OpenAI's regional host, whose prices differ. ``base_url`` None is the OpenAI SDK's default, OpenAI itself.
    """
    if base_url is None:
        return "openai"
    host = urlsplit(base_url if "//" in base_url else f"//{base_url}").hostname or ""
    return "azure" if host.endswith(_AZURE) else _HOSTS.get(host)


@dataclass(frozen=True, slots=True)
class _Rates:
    """Dollars per token for calls with more than ``above`` input tokens; None where the table has no price."""

    input: Decimal | None
    output: Decimal | None
    cached: Decimal | None
    cache_write: Decimal | None
    reasoning: Decimal | None
    call: Decimal = Decimal(0)  #: dollars per call
    above: int = -1

    def cost(self, usage: Usage) -> Decimal | None:
        """Dollars; None when a kind of token that was used has no price, or the parts exceed their whole."""
        fresh = usage.input - usage.cached - usage.cache_write
        spoken = usage.output - usage.reasoning
        total = self.call
        for tokens, rate in (
            (fresh, self.input),
            (usage.cached, self.cached),
            (usage.cache_write, self.cache_write),
            (spoken, self.output),
            (usage.reasoning, self.reasoning),
        ):
            if tokens < 0 or (tokens and rate is None):
                return None
            if tokens and rate is not None:
                total += tokens * rate
        return total

    def worst(self, input_tokens: int, output_tokens: int) -> Decimal | None:
        """Dollars if every token were of the dearest kind of its side."""
        if self.input is None or self.output is None:
            return None
        dearest_in = max(rate for rate in (self.input, self.cached, self.cache_write) if rate is not None)
        dearest_out = max(rate for rate in (self.output, self.reasoning) if rate is not None)
        return self.call + input_tokens * dearest_in + output_tokens * dearest_out


@dataclass(frozen=True, slots=True)
class _Prices:
    """One model at one tier."""

    steps: tuple[_Rates, ...]  #: ascending ``above``: long inputs may cost more for the whole call
    other_hours: tuple[_Rates, ...] = ()  #: what it costs at other times of the day
    fixed: bool = True  #: does not depend on the clock

    def cost(self, usage: Usage) -> Decimal | None:
        return next(step for step in reversed(self.steps) if usage.input > step.above).cost(usage)

    def worst(self, input_tokens: int, output_tokens: int) -> Decimal | None:
        steps = [step for step in (*self.steps, *self.other_hours) if input_tokens > step.above]
        costs = [step.worst(input_tokens, output_tokens) for step in steps]
        known = [cost for cost in costs if cost is not None]
        return max(known) if len(known) == len(costs) else None


_NOTHING = Decimal(0)
_FREE = _Prices((_Rates(_NOTHING, _NOTHING, _NOTHING, _NOTHING, _NOTHING),))


class PriceTable:
    """The prices that hold for one run.

    A name in ``own`` counts for itself and for its dated snapshots ("gpt-5-mini" also for "gpt-5-mini-2025-08-07",
    not for "gpt-5-mini-high"), and for every tier, times its ``flex`` or ``batch`` there. The
    returned model's own price comes before the asked one's.
    ``provider_id`` is :func:`provider_of` the server; None prices nothing but ``own`` and the offline models,
    which cost exactly 0.

    Tiers: None, "standard", "default", "auto" and "on_demand" are the standard price; "batch", "flex", "priority" and
    any other name are priced only where the table has a price for that model at that tier. Elsewhere the price is
    unknown, not the standard one. A price is looked up once a run, except where it depends on the date or the hour.
    """

    def __init__(self, own: Mapping[str, PriceSettings], provider_id: str | None) -> None:
        self._own = own
        self._provider_id = provider_id
        self._known: dict[tuple[str | None, str | None, str | None], _Prices | None] = {}

    def cost(
        self, usage: Usage | None, model: str | None, tier: str | None, asked: str | None = None
    ) -> Decimal | None:
        """Dollars of one answered call, exact; None when unknown.

        ``model`` and ``tier`` are what the reply names; ``asked`` is the request's model, for replies that name none
        and for servers that answer under another name than the one ``[prices]`` has. Reasoning tokens are a part of
        the output, cached and cache-write tokens a part of the input.
        """
        if usage is None:
            return None
        prices = self._prices(model, tier, asked)
        return None if prices is None else prices.cost(usage)

    def worst_case(
        self, input_tokens_bound: int, max_output_tokens: int | None, model: str, tier: str | None
    ) -> Decimal | None:
        """The most that one call can cost, in dollars; None when the price or the bound on the output is unknown.

        Nothing is taken to be cached, and a long-context step counts if the bound reaches it. For a faster or a
        cheaper tier the standard price counts too if it is dearer, because a server may serve another tier than asked.
        """
        prices = self._prices(model, tier, None)
        if prices is None or max_output_tokens is None:
            return None
        worst = prices.worst(input_tokens_bound, max_output_tokens)
        standard = None if _context(tier) is None or tier == "batch" else self._prices(model, None, None)
        if worst is None or standard is None:
            return worst
        return max(worst, standard.worst(input_tokens_bound, max_output_tokens) or _NOTHING)

    def source(self) -> str:
        """Where prices come from: "pipeline [prices], genai-prices 0.2.3 (openai)"; "none" when nothing is known."""
        parts = ["pipeline [prices]"] if self._own else []
        if self._provider_id is not None:
            from genai_prices import __version__

            parts.append(f"genai-prices {__version__} ({self._provider_id})")
        return ", ".join(parts) or "none"

    def _prices(self, model: str | None, tier: str | None, asked: str | None) -> _Prices | None:
        key = (model, tier, asked)
        if key in self._known:
            return self._known[key]
        prices = self._look_up(model, tier, asked)
        if prices is None or prices.fixed:
            self._known[key] = prices
        return prices

    def _look_up(self, model: str | None, tier: str | None, asked: str | None) -> _Prices | None:
        for name in (model, asked):
            if name and (own := self._own.get(name) or self._own.get(_DATE.sub("", name))):
                return _own_prices(own, tier)
        name = model or asked
        if name and name.startswith(_FREE_PREFIX):
            return _FREE
        return _from_table(name, tier, self._provider_id) if name and self._provider_id else None


def _own_prices(price: PriceSettings, tier: str | None) -> _Prices:
    part = Decimal(str({"flex": price.flex, "batch": price.batch}.get(tier or "", 1)))
    fresh, output = price.input.scaleb(-6) * part, price.output.scaleb(-6) * part
    cached = fresh if price.cached is None else price.cached.scaleb(-6) * part
    return _Prices((_Rates(fresh, output, cached, fresh, output),))


def _context(tier: str | None) -> dict[str, str] | None:
    """The tier as genai-prices names it; None for the standard tier."""
    if tier is None or tier in STANDARD:
        return None
    return {"processing": "batch"} if tier == "batch" else {"service_tier": tier}


def _from_table(model: str, tier: str | None, provider_id: str) -> _Prices | None:
    from genai_prices import Usage as Tokens
    from genai_prices import calc_price
    from genai_prices.types import TimeOfDateConstraint

    context = _context(tier)
    try:
        found = calc_price(Tokens(), model, provider_id=provider_id, price_context=context)
    except LookupError:
        return None
    if context is not None and not _has_tier(found, context):
        return None
    dated = found.model.prices if isinstance(found.model.prices, list) else []
    by_hour = [entry.prices for entry in dated if isinstance(entry.constraint, TimeOfDateConstraint)]
    other_hours = tuple(step for prices in by_hour for step in _steps(prices))
    return _Prices(_steps(found.model_price), other_hours, fixed=not dated)


def _has_tier(found: PriceCalculation, context: dict[str, str]) -> bool:
    """Whether the table really prices this tier: it charges the standard price for a context that it does not know.

    A model that a provider borrows from another one's list (Azure from OpenAI) is never priced by tier.
    """
    now = datetime.now(UTC)
    return any(model is found.model for model in found.provider.models) and any(
        variant.when == context and (variant.constraint is None or variant.constraint.active(now))
        for variant in found.model.price_variants or ()
    )


def _steps(prices: ModelPrice) -> tuple[_Rates, ...]:
    from genai_prices.types import TieredPrices

    listed = (prices.input_mtok, prices.output_mtok, prices.cache_read_mtok, prices.cache_write_mtok)
    starts = {tier.start for price in listed if isinstance(price, TieredPrices) for tier in price.tiers}

    def at(name: str, above: int) -> Decimal | None:
        price: Decimal | TieredPrices | None = getattr(prices, name)
        if isinstance(price, TieredPrices):
            price = next((tier.price for tier in reversed(price.tiers) if tier.start <= above), price.base)
        return None if price is None else price.scaleb(-6)

    def rates(above: int) -> _Rates:
        fresh, output = at("input_mtok", above), at("output_mtok", above)
        cached, cache_write = at("cache_read_mtok", above), at("cache_write_mtok", above)
        reasoning, thousand_calls = at("output_reasoning_mtok", above), at("requests_kcount", above)
        return _Rates(
            fresh,
            output,
            fresh if cached is None else cached,
            fresh if cache_write is None else cache_write,
            output if reasoning is None else reasoning,
            _NOTHING if thousand_calls is None else thousand_calls.scaleb(3),
            above,
        )

    return tuple(rates(above) for above in (-1, *sorted(starts)))
