"""A lane: one model as it is asked, with limits and prices of its own. A ladder has one for each model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

from llmbatch.budget import Caps, HourMeter
from llmbatch.cli.foresight import Foresight
from llmbatch.limits import Change, Gate, LimitState
from llmbatch.pipeline import Pipeline
from llmbatch.prices import PriceTable
from llmbatch.providers import wrap
from llmbatch.types import Provider, Reply, Request, Usage


@dataclass(slots=True)
class Lane:
    """What asking one model takes."""

    pipeline: Pipeline  #: that asks it alone
    raw: Provider
    gate: Gate
    prices: PriceTable
    foresight: Foresight | None = None  #: once the ledger is open
    meter: HourMeter | None = None  #: of a server that is paid by the hour

    @property
    def model(self) -> str:
        """As asked."""
        return self.pipeline.settings.request.model

    def cost(self, usage: Usage | None, model: str | None, tier: str | None) -> Decimal | None:
        """Dollars of an answer that names a model and a tier; None when unknown."""
        if self.meter is not None:
            return self.meter.charge()
        return self.prices.cost(usage, model, tier, asked=self.model)

    def by_hour(self, caps: Caps | None) -> bool:
        """Start its clock, if its time is paid; whether it is."""
        rate = self.prices.usd_per_hour(self.model)
        self.meter = None if rate is None else HourMeter(rate, caps, longest_s=self.pipeline.settings.limits.attempt_s)
        return rate is not None


class Routed:
    """Each request goes to the provider of its model."""

    def __init__(self, by_model: Mapping[str, Provider]) -> None:
        self._by_model = by_model

    async def call(self, request: Request) -> Reply:
        """Ask the request's model."""
        return await self._by_model[request.model].call(request)

    async def close(self) -> None:
        """Close all of them."""
        for provider in self._by_model.values():
            await provider.close()


@dataclass(frozen=True, slots=True)
class Cuts:
    """What can cut the calls of all lanes short."""

    timed: Sequence[wrap.Cutter]

    def cut(self) -> None:
        """End every call in flight."""
        for one in self.timed:
            one.cut()


def together(states: Sequence[LimitState]) -> LimitState:
    """The limits of lanes that are driven side by side: calls in flight add up, as do calls and tokens a minute.

    Paused, or without a provider, is a run whose first lane is: all rows come through that one.
    """

    def total(name: str) -> float | None:
        parts = [value for state in states if (value := getattr(state, name)) is not None]
        return sum(parts) if len(parts) == len(states) else None

    return replace(
        states[0],
        concurrency=sum(state.concurrency for state in states),
        requests_per_minute=total("requests_per_minute"),
        tokens_per_minute=total("tokens_per_minute"),
    )


def changes_of(lanes: Sequence[Lane]) -> Sequence[Change]:
    """What the limits did, oldest first."""
    if len(lanes) == 1:
        return lanes[0].gate.changes
    return sorted((change for lane in lanes for change in lane.gate.changes), key=lambda change: change.at)
