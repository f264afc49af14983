"""What a schedule is told. Every event has its moment, ``at``, and events come in order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from llmbatch.schedule.model import BatchSeen


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed, and perhaps rows got their outcome."""

    at: float
    left: int


@dataclass(frozen=True, slots=True)
class Measured:
    """How fast standard calls are under the limits."""

    at: float
    rows_per_s: float
    reserve_s: float | None = None  #: what is kept free before the deadline, by the calls seen; None: as before


@dataclass(frozen=True, slots=True)
class FlexSeen:
    """How fast flex calls were answered lately."""

    at: float
    rows_per_s: float


@dataclass(frozen=True, slots=True)
class BatchesSeen:
    """How every open batch stands, and how long those took that have ended since the last time."""

    at: float
    left: int
    batches: tuple[BatchSeen, ...]
    took: tuple[float, ...] = ()  #: seconds; infinite for one that expired


@dataclass(frozen=True, slots=True)
class Beside:
    """The rows that were asked live while the others are in batches have their outcome."""

    at: float
    left: int


@dataclass(frozen=True, slots=True)
class Ready:
    """Another batch could be handed in, of so many rows that are left."""

    at: float
    left: int


@dataclass(frozen=True, slots=True)
class Closed:
    """Cancelled batches have ended, and what they brought is stored; ``open``: requests of those that have not."""

    at: float
    left: int
    open: int = 0


Event: TypeAlias = Tick | Measured | FlexSeen | BatchesSeen | Beside | Ready | Closed
