"""The server's own account of what it was asked and what it would bill."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from decimal import Decimal
from typing import Any

from llmbatch.types import Usage

_MILLION = Decimal(1_000_000)


@dataclass(frozen=True, slots=True)
class Served:
    """One request, as the server saw it."""

    at_s: float  #: since the first request
    user_hash: str | None  #: SHA-256 of the first user message; None for a request that could not be read
    key: str | None  #: SHA-256 of the canonical body as received
    model: str | None
    status: int | None  #: HTTP status; None when the connection ended without one
    fault: str | None  #: kind of the scenario's fault; or own_key, own_invalid, own_limit, own_queue, own_model
    usage: Usage | None  #: what is billed; None when the model did not run to its end
    delivered: bool  #: the whole answer was handed to a connection that was still open
    tier: str = "default"  #: default, flex, priority or batch: the price
    played: str | None = None  #: wrong or invalid, where a model of the scenario's was so by its rates


@dataclass(slots=True)
class Sums:
    """Requests and what was billed for them."""

    requests: int = 0
    paid: int = 0
    paid_undelivered: int = 0  #: billed, and the client never had the whole answer
    input: int = 0
    cached: int = 0  #: part of ``input``
    output: int = 0
    wrong: int = 0  #: paid, and the model was wrong about the row, by the scenario's rates
    invalid: int = 0  #: paid, and its answer did not fit the schema, by the scenario's rates

    def add(self, served: Served) -> None:
        """Count one request."""
        self.requests += 1
        if usage := served.usage:
            self.paid += 1
            self.paid_undelivered += not served.delivered
            self.input += usage.input
            self.cached += usage.cached
            self.output += usage.output
            self.wrong += served.played == "wrong"
            self.invalid += served.played == "invalid"

    def dollars(self, input_price: Decimal, output_price: Decimal, cached_price: Decimal | None = None) -> Decimal:
        """What is billed, at dollars per million tokens. Cached tokens cost as others unless they have a price."""
        cached = input_price if cached_price is None else cached_price
        return ((self.input - self.cached) * input_price + self.cached * cached + self.output * output_price) / _MILLION


@dataclass(slots=True)
class Account:
    """Every request and the sums over them; without ``detail`` the sums only, in constant memory."""

    detail: bool = True
    requests: list[Served] = field(default_factory=list)
    total: Sums = field(default_factory=Sums)
    by_fault: dict[str, Sums] = field(default_factory=dict)  #: "" stands for requests without one
    by_model: dict[str, Sums] = field(default_factory=dict)  #: as asked for
    by_tier: dict[str, Sums] = field(default_factory=dict)
    by_status: Counter[str] = field(default_factory=Counter)  #: "none" when the connection ended without one
    per_second: Counter[int] = field(default_factory=Counter)  #: requests in each second since the first
    paid_per_second: Counter[int] = field(default_factory=Counter)
    in_flight: int = 0
    peak_in_flight: int = 0
    in_two_live_batches: int = 0  #: custom_ids that were in a live batch when they came in another; only with detail

    def add(self, served: Served) -> None:
        """Count one request; its second is that of its arrival."""
        if self.detail:
            self.requests.append(served)
        self.total.add(served)
        self.by_fault.setdefault(served.fault or "", Sums()).add(served)
        self.by_model.setdefault(served.model or "", Sums()).add(served)
        self.by_tier.setdefault(served.tier, Sums()).add(served)
        self.by_status[str(served.status or "none")] += 1
        self.per_second[int(served.at_s)] += 1
        if served.usage:
            self.paid_per_second[int(served.at_s)] += 1

    @contextmanager
    def flight(self) -> Iterator[None]:
        """Count a request as in flight."""
        self.in_flight += 1
        self.peak_in_flight = max(self.peak_in_flight, self.in_flight)
        try:
            yield
        finally:
            self.in_flight -= 1

    def as_json(self) -> dict[str, Any]:
        """The account as ``GET /account`` shows it."""
        return {
            "total": asdict(self.total),
            "by_fault": {fault: asdict(sums) for fault, sums in self.by_fault.items()},
            "by_model": {model: asdict(sums) for model, sums in self.by_model.items()},
            "by_tier": {tier: asdict(sums) for tier, sums in self.by_tier.items()},
            "in_two_live_batches": self.in_two_live_batches,
            "by_status": dict(self.by_status),
            "per_second": {str(second): n for second, n in sorted(self.per_second.items())},
            "paid_per_second": {str(second): n for second, n in sorted(self.paid_per_second.items())},
            "in_flight": self.in_flight,
            "peak_in_flight": self.peak_in_flight,
            "requests": [asdict(served) for served in self.requests],
        }
