"""The budget as a state machine that hypothesis drives: calls come, wait, end and are given up in any order."""

import asyncio
from decimal import Decimal

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from llmbatch.budget import Budget, Cap, Caps
from llmbatch.errors import BudgetReached
from llmbatch.types import Request

Reserve = asyncio.Task[Decimal]


class BudgetMachine(RuleBasedStateMachine):
    """Costs up to the reserve never pass the cap; what is stored is never below what may be billed."""

    @initialize(cap=st.integers(1, 500), before=st.integers(0, 100))
    def start(self, cap: int, before: int) -> None:
        self.loop = asyncio.new_event_loop()
        self.cap, self.before = Decimal(cap) / 100, Decimal(before) / 100
        self.stored = Decimal(0)
        self.budget = Budget(
            Caps([Cap(self.cap, self.before)]),
            worst_case=lambda request: Decimal(request.row_no) / 100,
            cost_of=lambda _request, reply: reply.cost_usd,
            store=self.store,
        )
        self.asked: list[Reserve] = []  #: in order of arrival, until they are granted
        self.granted: list[Decimal] = []
        self.billed = Decimal(0)

    async def store(self, usd: Decimal) -> None:
        await asyncio.sleep(0)
        self.stored = usd

    def turn(self) -> None:
        """Let everything run that can, and see who was let go."""
        for _ in range(12):
            self.loop.run_until_complete(asyncio.sleep(0))
        waiting = False
        for task in list(self.asked):
            if not task.done():
                waiting = True
                continue
            self.asked.remove(task)
            if task.cancelled() or isinstance(task.exception(), BudgetReached):
                continue
            assert not waiting, "first come, first served"
            self.granted.append(task.result())

    @rule(cents=st.integers(1, 120), calls=st.integers(1, 5))
    def calls_come(self, cents: int, calls: int) -> None:
        request = Request("k", cents, "m", (), {}, {})
        self.asked += [self.loop.create_task(self.budget.reserve(request)) for _ in range(calls)]
        self.turn()

    @precondition(lambda self: bool(self.granted))
    @rule(which=st.integers(0, 50), part=st.sampled_from(["0", "0.1", "1", None]))
    def a_call_ends(self, which: int, part: str | None) -> None:
        reserved = self.granted.pop(which % len(self.granted))
        cost = None if part is None else reserved * Decimal(part)
        self.budget.settle(reserved, cost)
        self.billed += reserved if cost is None else cost
        self.turn()

    @precondition(lambda self: bool(self.asked))
    @rule(which=st.integers(0, 50))
    def a_waiter_gives_up(self, which: int) -> None:
        self.asked[which % len(self.asked)].cancel()
        self.turn()

    @invariant()
    def the_cap_holds(self) -> None:
        assert self.before + self.budget.spent + self.budget.reserved <= max(self.cap, self.before)

    @invariant()
    def what_may_be_billed_is_stored(self) -> None:
        assert self.stored >= self.budget.spent + sum(self.granted)

    @invariant()
    def it_adds_up(self) -> None:
        assert self.budget.spent == self.billed
        assert self.budget.reserved == sum(self.granted)

    @invariant()
    def nobody_waits_for_nothing(self) -> None:
        assert self.granted or not self.asked, "a waiter waits for a call in flight"

    def teardown(self) -> None:
        for task in self.asked:
            task.cancel()
        self.turn()
        self.loop.close()


TestBudget = BudgetMachine.TestCase
TestBudget.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
