"""A call as the limits see it: when it was let go, and how it ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(slots=True)
class Admitted:
    """A call that may be made."""

    row_no: int
    tokens: int  #: reserved, in and out
    at: float  #: seconds of the gate's clock
    probe: bool = False  #: sent to see whether the provider answers again
    beside: int = 0  #: other calls in flight at that moment


@dataclass(slots=True)
class Ended:
    """How a call ended."""

    outcome: str  #: answered, rate_limited, overloaded, transient, timeout, rejected, refused or cancelled
    tokens: int | None  #: used, in and out; None when the answer does not say
    headers: Mapping[str, str]  #: of the answer, lower-case names
    latency_s: float  #: from sending to the last byte
    retry_after: float | None  #: seconds the provider asked to wait
    output_tokens: int | None  #: used
