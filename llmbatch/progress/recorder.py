"""Looks at a run four times a second, for the report's chart over time."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from llmbatch.progress.gauges import Gauges
from llmbatch.progress.ticker import Ticker
from llmbatch.tally import Look, Tally

_PERIOD_S = 0.25


class Recorder:
    """Fills ``tally.timeline`` while entered. A look costs some 20 us, whatever the rows."""

    def __init__(self, tally: Tally, gauges: Gauges, clock: Callable[[], float] = time.monotonic) -> None:
        self._tally, self._gauges, self._clock = tally, gauges, clock
        self._start = clock()
        self._ticker = Ticker(_PERIOD_S, self.look)

    def __enter__(self) -> Self:
        self._ticker.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ticker.__exit__(kind, error, trace)
        self.look()

    def look(self) -> None:
        """Take the sums of this moment."""
        tally, in_flight = self._tally, self._gauges.in_flight()
        limits = self._gauges.limits() if self._gauges.limits else None
        tally.timeline.add(
            self._clock() - self._start,
            Look(
                rows=tally.settled,
                answers=tally.attempts["answered"],
                dollars=float(tally.cost_usd),
                in_flight=in_flight,
                concurrency=limits.concurrency if limits else in_flight,
                paused=limits is not None and limits.paused_s > 0,
                down=limits is not None and limits.breaker != "closed",
            ),
        )
