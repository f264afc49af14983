"""A plan: what `llmbatch plan` prints, as text and as JSON."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Amount:
    """Something that is not known exactly."""

    low: float
    likely: float
    high: float

    def __mul__(self, by: float) -> Amount:
        return Amount(self.low * by, self.likely * by, self.high * by)


def total(amounts: Iterable[Amount]) -> Amount:
    """The sum; where one is at its low end, all of them may be."""
    found = tuple(amounts)
    return Amount(sum(a.low for a in found), sum(a.likely for a in found), sum(a.high for a in found))


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows by what a run would do with them. total = reused + new + reasked + twins + failed + skipped + too_long."""

    total: int
    reused: int = 0  #: served by a stored reply
    new: int = 0  #: asked for the first time
    reasked: int = 0  #: all stored replies are invalid, and attempts are left
    twins: int = 0  #: served by the answer to the same request of another row
    failed: int = 0  #: stay failed without a call
    skipped: int = 0  #: unusable rows
    too_long: int = 0  #: over max_chars
    added: int | None = None  #: of the rows with a request, those that last night did not have; null on a first night
    changed: int | None = None  #: a known id and another request; null without an id column
    gone: int | None = None  #: rows of last night that this input lacks

    @property
    def asked(self) -> int:
        """Rows that cost calls."""
        return self.new + self.reasked


@dataclass(frozen=True, slots=True)
class Time:
    """How long it may take; null when nothing is known."""

    seconds: float | None
    limited_by: str | None  #: requests_per_minute, tokens_per_minute, batch, or history (the speed of earlier runs)


@dataclass(frozen=True, slots=True)
class TierCost:
    """Dollars at a tier."""

    tier: str
    cost_usd: Amount


@dataclass(frozen=True, slots=True)
class PlannedRung:
    """One model of a ladder."""

    model: str
    rows: Amount  #: that will be asked of it
    climb_rate: Amount | None  #: part of them that goes on; null for the last model, and where it is not known
    basis: str | None  #: what the rate rests on; null likewise
    cost_usd: Amount | None  #: null when no price is known


@dataclass(frozen=True, slots=True)
class EarlierPlan:
    """How a plan turned out."""

    run_id: str
    planned_usd: float
    actual_usd: float

    @property
    def off(self) -> float:
        """The bill over the plan, minus 1."""
        return self.actual_usd / self.planned_usd - 1


@dataclass(frozen=True, slots=True)
class Outline:
    """How a deadline would be met. Moments are ISO 8601, with the machine's offset; null where there is none."""

    deadline: str
    first: str  #: the tier that the rows would begin at
    reason: str
    batches_until: str | None  #: their last call, if nothing were done by then
    flex_until: str | None  #: likewise
    rows_per_s: float | None  #: that it rests on; null: it is measured first


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run would do, use and cost."""

    pipeline: str
    prompt_version: str
    model: str
    tier: str
    rows: Rows
    calls: Amount
    input_tokens: Amount
    output_tokens: Amount
    cached_tokens: float  #: of the likely input tokens
    cost_usd: Amount | None  #: null when no price is known
    tiers: tuple[TierCost, ...]  #: those that have a price
    time: Time
    basis: str  #: what it rests on, in words
    price_source: str
    budget_usd: float | None = None  #: what the tightest budget leaves
    probed: int = 0  #: rows that were asked for this plan
    earlier: tuple[EarlierPlan, ...] = field(default_factory=tuple)  #: newest first
    schedule: Outline | None = None  #: with tier auto
    ladder: tuple[PlannedRung, ...] = ()  #: its models in their order


def to_json(plan: Plan) -> dict[str, Any]:
    """For a JSON encoder: tokens are whole, dollars have ten places, seconds one."""
    shape = asdict(plan)
    for name in ("calls", "input_tokens", "output_tokens"):
        shape[name] = {which: round(value) for which, value in shape[name].items()}
    shape["cached_tokens"] = round(plan.cached_tokens)
    for cost in (shape["cost_usd"], *(tier["cost_usd"] for tier in shape["tiers"])):
        if cost is not None:
            cost.update({which: round(value, 10) for which, value in cost.items()})
    if plan.time.seconds is not None:
        shape["time"]["seconds"] = round(plan.time.seconds, 1)
    for earlier, given in zip(shape["earlier"], plan.earlier, strict=True):
        earlier["off"] = round(given.off, 4)
    return shape
