"""The nouns of a schedule: what is known of a night, where it stands, what was decided."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

Tier: TypeAlias = Literal["standard", "flex", "batch"]


@dataclass(frozen=True, slots=True)
class Offer:
    """A tier that the provider has, and that costs less than the standard one."""

    tier: Tier
    usd: float | None  #: dollars of the average row; None when no price is known


@dataclass(frozen=True, slots=True)
class Terms:
    """What holds for a whole night. Moments are seconds of one clock, the caller's."""

    deadline_at: float
    offers: tuple[Offer, ...] = ()  #: the cheapest first; batch before flex at the same price
    cancel_s: float = 600.0  #: how long a batch that is cancelled may take to end
    reserve_s: float = 1.0  #: before the deadline, for the last calls and the results
    history: tuple[float, ...] = ()  #: seconds that earlier batches took; infinite for one that was not done in time

    def offers_tier(self, tier: Tier) -> bool:
        """Whether a cheaper tier is to be had."""
        return any(offer.tier == tier for offer in self.offers)

    def usd(self, tier: Tier) -> float | None:
        """Dollars of the average row at a cheaper tier."""
        return next((offer.usd for offer in self.offers if offer.tier == tier), None)


@dataclass(frozen=True, slots=True)
class BatchSeen:
    """An open batch, as the provider last told of it."""

    made_at: float
    requests: int
    done: int  #: of them, also failed ones


@dataclass(frozen=True, slots=True)
class Decided:
    """A decision: from ``at`` on, rows are asked at ``tier``."""

    at: float
    tier: Tier
    reason: str
    left: int  #: rows without an outcome then
    closes: bool = False  #: open batches are cancelled first
    beside: int = 0  #: with batch: so many rows are asked live meanwhile
    measures: bool = False  #: a few rows, to see how fast that is


@dataclass(frozen=True, slots=True)
class State:
    """Where the night stands."""

    terms: Terms
    at: float  #: of the last event
    left: int  #: rows without an outcome; those in batches among them
    tier: Tier
    measuring: bool = False  #: a few rows are asked live, to see how fast that is
    closing: bool = False  #: batches are cancelled, and waited for
    beside: int = 0  #: rows that are asked live while the others are in batches; nobody looks at these until then
    speed: float | None = None  #: rows a second that standard calls make under the limits
    flex_speed: float | None = None  #: that flex calls make at the moment
    flex_at: float | None = None  #: when flex calls were last answered
    refused_at: float | None = None  #: when they were first refused since
    batches: tuple[BatchSeen, ...] = ()  #: open ones
    took: tuple[float, ...] = ()  #: seconds that batches of this night took
    decided: tuple[Decided, ...] = ()

    @property
    def to_ask(self) -> int:
        """Rows that would have to be asked live if the open batches ended now; without batches, all that are left."""
        waits = self.tier == "batch" or self.closing
        return max(0, self.left - (sum(batch.done for batch in self.batches) if waits else 0))
