"""A run's counts at one moment, with the speed of the last half minute."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from llmbatch.progress.gauges import Gauges
from llmbatch.tally import BatchState, Tally
from llmbatch.types import Status

_WINDOW_S = 30.0
_RATE_AFTER_S = 2.0
_ETA_AFTER_S = 5.0


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
    eta_s: float | None  #: seconds to the end at that speed; None while unknown
    notes: tuple[str, ...]
    batches: tuple[BatchState, ...] = ()  #: open at the provider

    @property
    def settled(self) -> int:
        """Rows that have an outcome."""
        return self.rows["total"] - self.rows["pending"]


@dataclass(slots=True)
class _Speed:
    """Rows a second, over a window that slides with the calls of ``add``."""

    seen: deque[tuple[float, int]] = field(default_factory=deque)

    def add(self, now: float, settled: int) -> tuple[float, float]:
        """Take in a count; returns the speed and the seconds that it is measured over."""
        self.seen.append((now, settled))
        while len(self.seen) > 2 and self.seen[1][0] <= now - _WINDOW_S:
            self.seen.popleft()
        since, before = self.seen[0]
        span = now - since
        return ((settled - before) / span if span > 0 else 0.0), span


class Meter:
    """Reads a tally that another thread writes. Uses a clock that never jumps."""

    def __init__(self, tally: Tally, gauges: Gauges, clock: Callable[[], float] = time.monotonic) -> None:
        self._tally, self._gauges, self._clock = tally, gauges, clock
        self._start = clock()
        self._speed = _Speed()
        self._speed.add(self._start, tally.settled)

    def snapshot(self) -> Snapshot:
        """The run now. Speed needs a call every few seconds."""
        tally, now = self._tally, self._clock()
        rows = _rows(tally)
        speed, span = self._speed.add(now, rows["total"] - rows["pending"])
        models = tuple(tally.by_model.values())  # a copy: the other thread may add a model meanwhile
        unpriced = sum(model.unpriced for model in models)
        answered = sum(model.attempts for model in models)
        return Snapshot(
            rows=rows,
            attempts={"sent": tally.sent, "valid": tally.valid, "invalid": tally.invalid} | dict(tally.attempts),
            tokens={
                "input": sum(model.input for model in models),
                "cached": sum(model.cached for model in models),
                "output": sum(model.output for model in models),
                "reasoning": sum(model.reasoning for model in models),
            },
            cost_usd=None if answered and unpriced == answered else sum((m.cost_usd for m in models), Decimal(0)),
            unpriced=unpriced,
            in_flight=self._gauges.in_flight(),
            seconds=now - self._start,
            rows_per_s=speed if span >= _RATE_AFTER_S else None,
            eta_s=_eta(rows["pending"], speed, span),
            notes=tuple(tally.notes),
            batches=tally.batches,
        )


def _rows(tally: Tally) -> dict[str, int]:
    counts = dict(tally.rows)
    ended = {status.value: counts.get(status, 0) for status in Status if status is not Status.PENDING}
    return {"total": tally.total, **ended, "pending": max(0, tally.total - sum(ended.values()))}


def _eta(pending: int, speed: float, span: float) -> float | None:
    if pending == 0:
        return 0.0
    return pending / speed if speed > 0 and span >= _ETA_AFTER_S else None
