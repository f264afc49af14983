"""Reserve before a call, settle after it, and store beforehand what may be spent."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from decimal import Decimal

from llmbatch.budget.caps import Caps
from llmbatch.errors import Stop, StorageError
from llmbatch.types import Reply, Request

_TRANCHE = Decimal("0.01")  #: of what is left, drawn at once: a kill may count so much as spent that was not
_NOTHING = Decimal(0)


class Budget:
    """Caps in dollars, over one event loop. Spent plus reserved never passes any of them.

    A call whose reserve does not fit waits for others to settle, first come first served; when nothing is in flight
    it raises BudgetReached. ``store`` makes durable how much this run may have spent so far, before it can have: at a
    kill, its last word is at least what the provider bills.

    Where a provider charged more than the worst case of a call (it answered with a dearer model), later calls reserve
    as much more; only what was in flight then can pass the cap.
    """

    def __init__(
        self,
        caps: Caps,
        *,
        worst_case: Callable[[Request], Decimal],
        cost_of: Callable[[Request, Reply], Decimal | None],
        store: Callable[[Decimal], Awaitable[None]] | None = None,
    ) -> None:
        self.spent = _NOTHING  #: by this run
        self.reserved = _NOTHING
        self.cost_of = cost_of
        self._caps = caps
        self._worst_case = worst_case
        self._store = store
        self._dearer = Decimal(1)
        self._drawn = _NOTHING
        self._drawing: asyncio.Future[None] | None = None
        self._in_flight = 0
        self._waiting: deque[tuple[Decimal, asyncio.Future[None]]] = deque()

    async def reserve(self, request: Request) -> Decimal:
        """Set the worst case of a call aside; returns it. Raises BudgetReached, or StorageError from ``store``."""
        amount = self._worst_case(request) * self._dearer
        await self._turn(amount)
        try:
            while self._store is not None and self._may_be_spent > self._drawn:
                if self._drawing is None or self._drawing.done():
                    self._drawing = asyncio.ensure_future(self._draw(self._store))
                await asyncio.shield(self._drawing)
        except BaseException:
            self.settle(amount, _NOTHING)
            raise
        return amount

    def settle(self, reserved: Decimal, cost: Decimal | None) -> None:
        """Replace a reserve by its cost; None (unknown, perhaps billed) keeps it as spent."""
        self._in_flight -= 1
        self.reserved -= reserved
        spent = reserved if cost is None else cost
        self.spent += spent
        self._caps.add(spent)
        if spent > reserved > 0:
            self._dearer *= spent / reserved
        self._wake()

    def close(self, reason: Stop | StorageError) -> None:
        """Let every waiter go with the reason the run stops for."""
        while self._waiting:
            _, turn = self._waiting.popleft()
            if not turn.done():
                turn.set_exception(reason)

    async def finish(self) -> None:
        """Store what was spent in the end."""
        if self._store is not None and self._drawn:
            await self._store(self._may_be_spent)

    @property
    def _may_be_spent(self) -> Decimal:
        """By this run: by its calls, and by its batches, whose answers count in the same bill."""
        return self.spent + self.reserved + self._caps.by_batches + self._caps.held

    async def _turn(self, amount: Decimal) -> None:
        if not self._waiting and self._fits(amount):
            self._take(amount)
            return
        if not self._in_flight:
            raise self._caps.reached(amount)
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((amount, turn))
        try:
            await turn  # whoever wakes it has taken the reserve
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self.settle(amount, _NOTHING)
            raise

    async def _draw(self, store: Callable[[Decimal], Awaitable[None]]) -> None:
        need = self._may_be_spent
        left = max(_NOTHING, self._caps.left - self.reserved)
        most = need + left * _TRANCHE
        await store(most)
        self._drawn = most

    def _wake(self) -> None:
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
                self.close(self._caps.reached(amount))

    def _fits(self, amount: Decimal) -> bool:
        return self.reserved + amount <= self._caps.left

    def _take(self, amount: Decimal) -> None:
        self.reserved += amount
        self._in_flight += 1
