"""Money by the hour: a server of one's own costs while the run uses it, whatever it answers."""

from __future__ import annotations

import time
from collections.abc import Callable
from decimal import Decimal

from llmbatch.budget.caps import Caps

_NANO_HOURS = Decimal(3_600 * 10**9)


class HourMeter:
    """The clock of a server that costs ``usd_per_hour``. It runs from the run's first call to its last answer.

    Each answer carries the time since the answer before it (the first one since the first call), so the answers of a
    run add up to its hours, and a row costs what the throughput of its moment makes of them. Time of calls that brought
    nothing is carried by the next answer.
    """

    def __init__(
        self,
        usd_per_hour: Decimal,
        caps: Caps | None = None,
        *,
        longest_s: float,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self.usd_per_hour = usd_per_hour
        self._caps = caps
        self._most_a_call = usd_per_hour * Decimal(str(longest_s)) / 3_600
        self._clock = clock
        self._charged_until: int | None = None  # nanoseconds

    def begin(self) -> None:
        """A call leaves. Raises BudgetReached when its time may not fit: all calls in flight end within that time."""
        if self._caps is not None and self.due + self._most_a_call > self._caps.left:
            raise self._caps.reached(self._most_a_call)
        if self._charged_until is None:
            self._charged_until = self._clock()

    @property
    def due(self) -> Decimal:
        """Dollars since the last answer."""
        if self._charged_until is None:
            return Decimal(0)
        return self.usd_per_hour * (self._clock() - self._charged_until) / _NANO_HOURS

    def charge(self) -> Decimal:
        """Dollars that an answer carries, to the ledger's twelve places."""
        dollars = self.due.quantize(Decimal("1e-12"))
        self._charged_until = self._clock()
        if self._caps is not None:
            self._caps.add(dollars)
        return dollars
