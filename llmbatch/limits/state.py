"""What the limits do at one moment, for a person who watches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class LimitState:
    """The limits at one moment."""

    concurrency: int  #: calls that may be in flight
    paused_s: float  #: until a call may go, after a rate limit or between probes; 0 when nothing is paused
    breaker: Literal["closed", "open", "probing"]  #: open: the provider seems down; probing: one call tries it now
    requests_per_minute: float | None = None  #: what can be kept up, share included; None: no limit known
    tokens_per_minute: float | None = None  #: likewise
