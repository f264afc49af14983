"""The parts of a run, put together: provider, prices, limits, budget, in the order of providers/wrap.py."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal

import orjson

from llmbatch import ledger as ledgers
from llmbatch import providers
from llmbatch.budget import Budget, Caps
from llmbatch.cli.crew import Crew
from llmbatch.cli.foresight import Foreseen, foresee, planned_of
from llmbatch.cli.lanes import Cuts, Lane, Routed, changes_of, together
from llmbatch.cli.spending import WorstCase, caps_of, drawing, has_caps, refuse_unbounded
from llmbatch.halt import Halt
from llmbatch.hosts import is_this_machine
from llmbatch.ledger import Ledger, Run, RunStart
from llmbatch.limits import Change, Gate, LimitState, RetryBudget
from llmbatch.pipeline import Pipeline
from llmbatch.prices import PriceTable, provider_of
from llmbatch.progress import Gauges
from llmbatch.providers import capabilities, wrap
from llmbatch.providers.switch import Switch
from llmbatch.report import LimitChange, Planned
from llmbatch.savings import savings
from llmbatch.tally import Tally
from llmbatch.types import Attempt, Provider, Request, Usage


@dataclass(slots=True)
class Wired:
    """What a run works with; ``wrapped`` completes it once the ledger is open."""

    pipeline: Pipeline
    tally: Tally
    halt: Halt
    lanes: tuple[Lane, ...]  #: one for each model of the ladder
    prices: PriceTable
    worst_case: WorstCase
    tail: wrap.Tail = field(default_factory=wrap.Tail)
    heard: list[Callable[[Attempt], None]] = field(default_factory=list)  #: who hears of attempts beside the tally
    crew: Crew | None = None  #: makes the calls in this process's stead
    switch: Switch | None = None  #: with tier auto: the tier that calls go at now
    timed: wrap.Timed | None = None  #: with tier auto: what times its calls
    _caps: Caps | None = None

    @property
    def rehearsal(self) -> bool:
        """Whether the simulator may be what answers."""
        return is_rehearsal(self.pipeline)

    def in_flight(self) -> int:
        """Calls in flight now."""
        return sum(lane.gate.in_flight for lane in self.lanes)

    def limits(self) -> LimitState:
        """What the limits do now."""
        return together([lane.gate.state() for lane in self.lanes])

    def changes(self) -> Sequence[Change]:
        """What the limits did."""
        return changes_of(self.lanes)

    def limit_changes(self) -> tuple[LimitChange, ...]:
        """What the limits did, as the report has it."""
        return tuple(
            LimitChange(round(change.at, 3), change.what, change.value, change.reason, change.model)
            for change in self.changes()
        )

    @property
    def structured_output(self) -> str | None:
        """How the provider was asked for JSON, as far as it says; by the first model of a ladder."""
        return getattr(self.lanes[0].raw, "structured_output", None)

    def planned(self) -> Planned | None:
        """What the requests that were sent were expected to use."""
        return planned_of([lane.foresight for lane in self.lanes if lane.foresight is not None])

    def foreseen(self, request: Request) -> None:
        """Take in the size of a request that goes by a batch."""
        lane = next(lane for lane in self.lanes if lane.model == request.model)
        if lane.foresight is not None:
            lane.foresight.sizes.add(request)

    async def wrapped(self, ledger: Ledger, run: Run) -> tuple[Provider, Cuts]:
        """The provider inside its wrappers, and what cuts its calls short."""
        caps = await self.caps(ledger, run)
        budget = self._budget(caps, ledger, run)
        if budget is not None:
            self.halt.listen(budget.close)
        wrapped, timed, retries = {}, [], RetryBudget()
        for lane in self.lanes:
            parts = wrap.Parts(
                limits=self.pipeline.settings.limits,
                gate=lane.gate,
                retries=retries,
                budget=None if lane.by_hour(caps) else budget,
                halt=self.halt,
                record=self._recording(ledger, run, lane),
                cost=lane.cost,
                tail=self.tail,
                note=self.tally.noted,
                meter=lane.meter,
                switch=self.switch,
            )
            self.halt.listen(lane.gate.close)
            inner, clock = await self._stacked(lane, parts)
            timed.append(clock)
            found = await ledger.ask(
                lambda con, lane=lane: foresee(  # type: ignore[misc]
                    con, lane.pipeline, self.prices, self.worst_case, rehearsal=self.rehearsal
                )
            )
            lane.foresight = found
            wrapped[lane.model] = Foreseen(inner, found.sizes)
        return Routed(wrapped) if len(wrapped) > 1 else wrapped[self.lanes[0].model], Cuts(timed)

    async def _stacked(self, lane: Lane, parts: wrap.Parts) -> tuple[Provider, wrap.Cutter]:
        if self.crew is None:
            wrapped, self.timed = wrap.build(lane.raw, parts)
            return wrapped, self.timed
        await lane.raw.close()
        lane.raw = fleet = self.crew.fleet(self.pipeline.settings, parts)
        self.tail = fleet.tail
        return fleet, fleet

    def _recording(self, ledger: Ledger, run: Run, lane: Lane) -> wrap.Record:
        """What stores the attempts of a lane."""

        async def record(attempt: Attempt, request: Request) -> int:
            if attempt.possibly_paid:
                attempt = replace(attempt, worst_usd=self.worst_case(request))
            self.tally.attempted(attempt)
            for hear in self.heard:
                hear(attempt)
            first = request if request.attempts_used == 0 and attempt.outcome != "rate_limited" else None
            return await ledger.record(run.run_no, attempt, first, lane.pipeline.version)

        return record

    def cost(self, usage: Usage | None, model: str | None, tier: str | None, asked: str) -> Decimal | None:
        """Dollars of an answer to a request to the model ``asked``; None when unknown."""
        return next(lane for lane in self.lanes if lane.model == asked).cost(usage, model, tier)

    async def gauges(self, ledger: Ledger, run: Run) -> Gauges:
        """What the displays read of the run beside the tally."""
        spent, _ = await ledger.ask(lambda con: ledgers.spent(con, run.resumes))
        budget = self.pipeline.settings.limits.budget_usd
        return Gauges(self.in_flight, self.limits, budget_usd=budget, spent_before_usd=spent)

    async def caps(self, ledger: Ledger, run: Run) -> Caps | None:
        """What the run may spend; the same at every call, so that batches and live calls spend of one purse."""
        if self._caps is None and has_caps(self.pipeline.settings):
            settings = self.pipeline.settings
            self._caps = await ledger.ask(lambda con: caps_of(con, settings, run, self.worst_case, time.time))
        return self._caps

    def _budget(self, caps: Caps | None, ledger: Ledger, run: Run) -> Budget | None:
        """One for all models that are paid by the token."""
        if caps is None or all(self.prices.usd_per_hour(lane.model) is not None for lane in self.lanes):
            return None

        def worst_case(request: Request) -> Decimal:
            dollars = self.worst_case(request)
            assert dollars is not None  # refuse_unbounded
            return dollars

        return Budget(
            caps,
            worst_case=worst_case,
            cost_of=lambda request, reply: self.cost(reply.usage, reply.model, reply.tier, request.model),
            store=drawing(ledger, run),
        )


def run_start(pipeline: Pipeline, *, input: str, fingerprint: str, total: int) -> RunStart:
    """What the ledger keeps of a run that begins: of the pipeline, and what it is asked for."""
    request = pipeline.settings.request
    return RunStart(
        pipeline=pipeline.name,
        version=pipeline.version,
        label=pipeline.settings.label,
        model=request.asked,
        system=request.system,
        params=orjson.dumps(request.params).decode(),
        schema=orjson.dumps(pipeline.schema).decode(),
        prompt=pipeline.prompt,
        hooks=pipeline.hooks,
        input=input,
        fingerprint=fingerprint,
        total=total,
        settings=pipeline.settings.model_dump_json(),
        rungs=pipeline.rungs(),
    )


def is_rehearsal(pipeline: Pipeline) -> bool:
    """Whether the simulator may be what answers: it runs on this machine."""
    address = providers.address(pipeline.settings)
    return address is not None and is_this_machine(address)


def prices_of(pipeline: Pipeline) -> PriceTable:
    """The prices that hold where the pipeline sends."""
    settings = pipeline.settings
    asks_nobody = settings.provider.kind == "offline"
    provider_id = None if asks_nobody else provider_of(providers.address(settings))
    return PriceTable(settings.prices, provider_id, origin=pipeline.prices_from)


def wire(
    pipeline: Pipeline,
    tally: Tally,
    halt: Halt,
    on_change: Callable[[str], None] | None,
    crew: Crew | None = None,
) -> Wired:
    """Build what a run needs. Raises UsageError for a missing key, and for a budget that cannot be kept."""
    settings = pipeline.settings
    prices = prices_of(pipeline)
    worst_case = WorstCase(pipeline, prices)
    refuse_unbounded(settings, worst_case, prices)
    if settings.limits.tier == "batch" or (
        settings.limits.tier == "auto" and "batch" in capabilities.of(settings).tiers
    ):
        refuse_unbounded(settings, WorstCase(pipeline, prices, tier="batch"), prices)
    tally.ladder = settings.request.ladder
    tally.saved_by = savings(prices, settings.request.model)
    lanes = tuple(
        Lane(
            pipeline.rung(model),
            providers.make(settings, tally.noted),
            Gate(settings.limits, on_change=on_change, model=model if settings.request.ladder else None),
            prices,
        )
        for model in settings.request.models
    )
    switch = Switch() if settings.limits.tier == "auto" else None
    return Wired(pipeline, tally, halt, lanes, prices, worst_case, crew=crew, switch=switch)
