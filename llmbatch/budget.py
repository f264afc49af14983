"""The spending cap: every call reserves its worst case before it is sent and settles on what came back."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from decimal import Decimal

from llmbatch.errors import BudgetReached, Stop, StorageError
from llmbatch.types import Reply, Request


class Budget:
    """A cap in dollars, over one event loop. Spent plus reserved never passes it.

    A call whose reserve does not fit waits for others to settle, first come first served; when nothing is in flight
    it raises BudgetReached.
    """

    def __init__(
        self,
        cap: Decimal,
        *,
        worst_case: Callable[[Request], Decimal],
        cost_of: Callable[[Reply], Decimal | None],
        spent: Decimal = Decimal(0),
    ) -> None:
        self.cap = cap
        self.spent = spent
        self.reserved = Decimal(0)
        self.cost_of = cost_of
        self._worst_case = worst_case
        self._in_flight = 0
        self._waiting: deque[tuple[Decimal, asyncio.Future[None]]] = deque()

    async def reserve(self, request: Request) -> Decimal:
        """Set the worst case of a call aside; returns it. Raises BudgetReached."""
        amount = self._worst_case(request)
        if self._waiting or not self._fits(amount):
            if not self._in_flight:
                raise self._reached(amount)
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append((amount, turn))
            try:
                await turn  # whoever wakes it has taken the reserve
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled() and turn.exception() is None:
                    self.settle(amount, Decimal(0))
                raise
        else:
            self._take(amount)
        return amount

    def settle(self, reserved: Decimal, cost: Decimal | None) -> None:
        """Replace a reserve by its cost; None (unknown, perhaps billed) keeps it as spent."""
        self._in_flight -= 1
        self.reserved -= reserved
        self.spent += reserved if cost is None else cost
        while self._waiting:
            amount, turn = self._waiting[0]
            if turn.done():  # its row was cancelled
                self._waiting.popleft()
            elif self._fits(amount):
                self._waiting.popleft()
                self._take(amount)
                turn.set_result(None)
            elif self._in_flight:
                return
            else:
                self.close(self._reached(amount))

    def close(self, reason: Stop | StorageError) -> None:
        """Let every waiter go with the reason the run stops for."""
        while self._waiting:
            _, turn = self._waiting.popleft()
            if not turn.done():
                turn.set_exception(reason)

    def _fits(self, amount: Decimal) -> bool:
        return self.spent + self.reserved + amount <= self.cap

    def _take(self, amount: Decimal) -> None:
        self.reserved += amount
        self._in_flight += 1

    def _reached(self, amount: Decimal) -> BudgetReached:
        return BudgetReached(
            f"budget reached: ${self.spent:.4f} of ${self.cap} spent, and the next request may cost ${amount:.4f}",
            hint="run the same command with a larger --budget to go on; nothing that is stored is paid again",
        )
