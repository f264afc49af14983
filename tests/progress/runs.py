"""A run that goes by a clock in the test's hand."""

from __future__ import annotations

from decimal import Decimal

from llmbatch.progress import Gauges, Meter
from llmbatch.tally import ModelSum, Tally
from llmbatch.types import Status


class Run:
    def __init__(self, total: int) -> None:
        self.now = 1000.0
        self.flying = 16
        self.tally = Tally()
        self.tally.planned(total)
        self.meter = Meter(self.tally, Gauges(lambda: self.flying), lambda: self.now)

    def after(self, seconds: float, rows: int = 0, status: Status = Status.DONE) -> None:
        """Let time pass, and rows end."""
        self.now += seconds
        self.tally.rows[status] += rows

    def paid(self, usd: str, attempts: int = 1, unpriced: int = 0) -> None:
        self.tally.by_model["m"] = ModelSum(attempts, 1_200_000, 5, 80_000, 7, Decimal(usd), unpriced)
        self.tally.attempts["answered"] = attempts
