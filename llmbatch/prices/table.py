"""The prices that hold for one run."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal

from llmbatch.prices import genai
from llmbatch.prices.own import FREE, own_prices
from llmbatch.prices.rates import Ceiling, Prices, ceilings
from llmbatch.settings import PriceSettings
from llmbatch.types import STANDARD, Usage

_DATE = re.compile(r"[-@]\d{4}[\d-]*$")
_FREE_PREFIX = "offline/"


class PriceTable:
    """The prices that hold for one run.

    A name in ``own`` counts for itself and for its dated snapshots ("gpt-5-mini" also for "gpt-5-mini-2025-08-07",
    not for "gpt-5-mini-high"). The returned model's own price comes before the asked one's. ``provider_id`` is
    :func:`provider_of` the server; None prices nothing but ``own`` and the offline models, which cost exactly 0.
    ``origin`` says in a report where ``own`` is from.

    Tiers: None, "standard", "default", "auto" and "on_demand" are the standard price; "batch", "flex", "priority" and
    any other name are priced only where there is a price for that model at that tier. Elsewhere the price is
    unknown, not the standard one. A price is looked up once a run, except where it depends on the date or the hour.
    """

    def __init__(
        self, own: Mapping[str, PriceSettings], provider_id: str | None, *, origin: str = "pipeline [prices]"
    ) -> None:
        self._own = dict(own)
        self._provider_id = provider_id
        self._origin = origin
        self._known: dict[tuple[str | None, str | None, str | None], Prices | None] = {}
        self._ceilings: dict[tuple[str, str | None], tuple[Ceiling, ...] | None] = {}

    def cost(
        self, usage: Usage | None, model: str | None, tier: str | None, asked: str | None = None
    ) -> Decimal | None:
        """Dollars of one answered call, exact; None when unknown, and for models that are paid by the hour.

        ``model`` and ``tier`` are what the reply names; ``asked`` is the request's model, for replies that name none
        and for servers that answer under another name than the one ``[prices]`` has. Reasoning tokens are a part of
        the output, cached and cache-write tokens a part of the input.
        """
        if usage is None:
            return None
        prices = self._prices(model, tier, asked)
        return None if prices is None else prices.cost(usage)

    def expected(
        self,
        model: str,
        tier: str | None,
        *,
        input: float,
        cached: float = 0.0,
        cache_write: float = 0.0,
        output: float = 0.0,
        reasoning: float = 0.0,
    ) -> float | None:
        """Dollars of a call that uses so much on average, for plans; None when unknown."""
        prices = self._prices(model, tier, None)
        return None if prices is None else prices.expected((input, cached, cache_write, output, reasoning))

    def usd_per_hour(self, model: str) -> Decimal | None:
        """Dollars per hour of the server, for a model whose time is paid; None for one whose tokens are."""
        own = self._own_of(model)
        return None if own is None else own.usd_per_hour

    def worst_case(
        self, input_tokens_bound: int, max_output_tokens: int | None, model: str, tier: str | None
    ) -> Decimal | None:
        """The most that one call can cost, in dollars; None when the price or the bound on the output is unknown.

        Nothing is taken to be cached, any of it may be a cache write, a long-context step counts if the bound reaches
        it, and a price counts that holds at another hour or from a date to come. The standard price counts for any
        tier but batch, because a server may serve another tier than asked; and where the request leaves the tier to
        the provider (none, or "auto"), the dearest one does.
        """
        key = (model, tier)
        if key not in self._ceilings:
            self._ceilings[key] = self._look_up_ceilings(model, tier)
        found = self._ceilings[key]
        if found is None or max_output_tokens is None:
            return None
        most = [c.cost(input_tokens_bound, max_output_tokens) for c in found if input_tokens_bound > c.above]
        return None if None in most else max(dollars for dollars in most if dollars is not None)

    def source(self) -> str:
        """Where prices come from, with version and date; "none" when nothing is known."""
        parts = [self._origin] if self._own else []
        if self._provider_id is not None:
            parts.append(genai.source(self._provider_id))
        return ", ".join(parts) or "none"

    def _look_up_ceilings(self, model: str, tier: str | None) -> tuple[Ceiling, ...] | None:
        asked = self._prices(model, tier, None)
        if asked is None:
            return None
        possible = [asked]
        if tier != "batch":
            others = self._tiers_of(model) if tier in (None, "auto") else ()
            possible += [p for other in (None, *others) if (p := self._prices(model, other, None)) is not None]
        return ceilings(possible)

    def _tiers_of(self, model: str) -> tuple[str, ...]:
        if self._own_of(model) is not None:
            return ("flex", "priority")
        return genai.tiers_of(model, self._provider_id) if self._provider_id else ()

    def _prices(self, model: str | None, tier: str | None, asked: str | None) -> Prices | None:
        key = (model, tier, asked)
        if key in self._known:
            return self._known[key]
        prices = self._look_up(model, None if tier in STANDARD else tier, asked)
        if prices is None or prices.fixed:
            self._known[key] = prices
        return prices

    def _look_up(self, model: str | None, tier: str | None, asked: str | None) -> Prices | None:
        for name in (model, asked):
            if name and (own := self._own_of(name)):
                return own_prices(own, tier)
        name = model or asked
        if name and name.startswith(_FREE_PREFIX):
            return FREE
        return genai.look_up(name, tier, self._provider_id) if name and self._provider_id else None

    def _own_of(self, name: str) -> PriceSettings | None:
        return self._own.get(name) or self._own.get(_DATE.sub("", name))
