"""What a run's machinery tells of itself beside the tally."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal

from llmbatch.limits import LimitState


@dataclass(frozen=True, slots=True)
class Gauges:
    """What can be read of a run at any moment, from any thread."""

    in_flight: Callable[[], int]
    limits: Callable[[], LimitState] | None = None
    budget_usd: Decimal | None = None
    spent_before_usd: Decimal = Decimal(0)  #: by the unfinished runs that this one goes on with; the budget counts it
