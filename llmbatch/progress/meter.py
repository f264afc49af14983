"""Reads a run at one moment, with the speed of the last half minute."""

from __future__ import annotations

import time
from collections.abc import Callable
from decimal import Decimal

from llmbatch.limits import LimitState
from llmbatch.progress.forecast import Look, Speed, Used, eta_s, projected_usd
from llmbatch.progress.gauges import Gauges
from llmbatch.progress.snapshot import Snapshot
from llmbatch.tally import Tally
from llmbatch.types import Status

_RATE_AFTER_S = 2.0
_PAUSE_S = 0.5  #: a shorter one does not show in the speed


class Meter:
    """Reads a tally that another thread writes. Uses a clock that never jumps."""

    def __init__(self, tally: Tally, gauges: Gauges, clock: Callable[[], float] = time.monotonic) -> None:
        self._tally, self._gauges, self._clock = tally, gauges, clock
        self._start = clock()
        self._speed = Speed()
        self._look(_rows(tally), self._start, None)

    def snapshot(self) -> Snapshot:
        """The run now. Speed needs a call every few seconds."""
        tally, gauges, now = self._tally, self._gauges, self._clock()
        rows, limits = _rows(tally), gauges.limits() if gauges.limits else None
        self._look(rows, now, limits)
        speed = self._speed
        models = tuple(tally.by_model.values())  # a copy: the other thread may add a model meanwhile
        unpriced, answered = sum(model.unpriced for model in models), sum(model.attempts for model in models)
        tokens = {
            "input": sum(model.input for model in models),
            "cached": sum(model.cached for model in models),
            "output": sum(model.output for model in models),
            "reasoning": sum(model.reasoning for model in models),
        }
        cost = None if answered and unpriced == answered else sum((m.cost_usd for m in models), Decimal(0))
        used = Used(rows["done"] + rows["failed"], answered, tokens["input"] + tokens["output"])
        last = projected_usd(rows, cost, speed.asked_share)
        return Snapshot(
            rows=rows,
            attempts={"sent": tally.sent, "valid": tally.valid, "invalid": tally.invalid} | dict(tally.attempts),
            tokens=tokens,
            cost_usd=cost,
            unpriced=unpriced,
            in_flight=gauges.in_flight(),
            seconds=now - self._start,
            rows_per_s=speed.rows_per_s if speed.span_s >= _RATE_AFTER_S else None,
            eta_s=eta_s(rows["pending"], speed, limits, used),
            notes=tuple(tally.notes),
            batches=tally.batches,
            limits=limits,
            budget_usd=gauges.budget_usd,
            spent_usd=None if cost is None else gauges.spent_before_usd + cost,
            projected_usd=None if last is None else gauges.spent_before_usd + last,
        )

    def _look(self, rows: dict[str, int], now: float, limits: LimitState | None) -> None:
        held = limits is not None and (limits.breaker != "closed" or limits.paused_s > _PAUSE_S)
        self._speed.add(Look(now, rows["total"] - rows["pending"], rows["done"] + rows["failed"], held))


def _rows(tally: Tally) -> dict[str, int]:
    counts = dict(tally.rows)
    ended = {status.value: counts.get(status, 0) for status in Status if status is not Status.PENDING}
    return {"total": tally.total, **ended, "pending": max(0, tally.total - sum(ended.values()))}
