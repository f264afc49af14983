"""A run's counts at one moment, and the same as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from llmbatch.limits import LimitState
from llmbatch.tally import BatchState

_NOTES = 3  #: the newest, as JSON
_BATCH = ("id", "status", "made_at", "requests", "completed", "failed")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A run at one moment."""

    rows: Mapping[str, int]  #: total, done, reused, failed, skipped, pending; they add up
    attempts: Mapping[str, int]  #: sent, valid, invalid, and calls by outcome
    tokens: Mapping[str, int]  #: input, cached, output, reasoning
    cost_usd: Decimal | None  #: of the priced attempts; None when there are answered ones and none is priced
    unpriced: int  #: answered attempts without a known price
    in_flight: int
    seconds: float  #: since the meter was made
    rows_per_s: float | None  #: over the last half minute; None in the first seconds
    eta_s: float | None  #: seconds to the end at what can be kept up; None while unknown
    notes: tuple[str, ...]
    batches: tuple[BatchState, ...] = ()  #: open at the provider
    limits: LimitState | None = None
    budget_usd: Decimal | None = None
    spent_usd: Decimal | None = None  #: with the unfinished runs that this one goes on with: what the budget counts
    projected_usd: Decimal | None = None  #: ``spent_usd`` at the end, if rows go on to cost what they did

    @property
    def settled(self) -> int:
        """Rows that have an outcome."""
        return self.rows["total"] - self.rows["pending"]


def to_json(now: Snapshot) -> dict[str, Any]:
    """The snapshot's part of a status file."""
    limits = now.limits
    return {
        "rows": now.rows,
        "attempts": now.attempts,
        "tokens": now.tokens,
        "cost_usd": _number(now.cost_usd),
        "unpriced_attempts": now.unpriced,
        "budget_usd": _number(now.budget_usd),
        "spent_usd": _number(now.spent_usd),
        "projected_usd": _number(now.projected_usd),
        "in_flight": now.in_flight,
        "concurrency": limits.concurrency if limits else None,
        "paused_s": round(limits.paused_s, 1) if limits else None,
        "breaker": limits.breaker if limits else None,
        "seconds": round(now.seconds, 1),
        "rows_per_s": now.rows_per_s,
        "eta_s": now.eta_s,
        "notes": now.notes[-_NOTES:],
        "batches": [{name: getattr(batch, name) for name in _BATCH} for batch in now.batches],
    }


def from_json(facts: Mapping[str, Any]) -> Snapshot:
    """A snapshot from a status file, of this release or of another: what is missing is unknown."""
    limits = None
    if facts.get("breaker") is not None:
        limits = LimitState(facts["concurrency"], facts["paused_s"], facts["breaker"])
    return Snapshot(
        rows=facts["rows"],
        attempts=facts["attempts"],
        tokens=facts["tokens"],
        cost_usd=_dollars(facts["cost_usd"]),
        unpriced=facts["unpriced_attempts"],
        in_flight=facts["in_flight"],
        seconds=facts.get("seconds", 0.0),
        rows_per_s=facts["rows_per_s"],
        eta_s=facts["eta_s"],
        notes=tuple(facts.get("notes", ())),
        batches=tuple(BatchState(**batch, worst_usd=None) for batch in facts.get("batches", ())),
        limits=limits,
        budget_usd=_dollars(facts.get("budget_usd")),
        spent_usd=_dollars(facts.get("spent_usd")),
        projected_usd=_dollars(facts.get("projected_usd")),
    )


def _number(dollars: Decimal | None) -> float | None:
    return None if dollars is None else float(dollars)


def _dollars(number: float | None) -> Decimal | None:
    return None if number is None else Decimal(str(number))
