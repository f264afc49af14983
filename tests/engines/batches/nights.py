"""Nights by batches in miniature: real ledger, real HTTP, the simulator under a fast clock."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from llmbatch import ledger as ledgers
from llmbatch.cli.spending import WorstCase
from llmbatch.cli.tiers import CapPurse, limits_of
from llmbatch.cli.wiring import wire
from llmbatch.engines import batch_api
from llmbatch.halt import Halt
from llmbatch.ledger import Ledger, answers_between
from llmbatch.pipeline import Check, Pipeline
from llmbatch.providers.batches import BatchDesk
from llmbatch.render import Renderer
from llmbatch.settings import Settings
from llmbatch.simulator import Batches, BatchFault, Clock, Fault, Scenario, Simulator
from llmbatch.tally import BatchState, Tally
from llmbatch.types import Row
from llmbatch.validate import Judge
from tests.engines.conftest import SCHEMA, Night, rows
from tests.ledger.conftest import start

PRICES = {"m-1": {"input": 1.0, "output": 10.0, "batch": 0.5}}
FAST = {"poll_s": 0.01, "listing_lag_s": 0.05}
TEXTS = [f"Ticket {n}: the invoice of month {n} is wrong." for n in range(30)]


def scenario(*faults: BatchFault, live: tuple[Fault, ...] = (), **batches: Any) -> Scenario:
    """A batch takes 62 s, which pass in 6 ms."""
    return Scenario(clock=Clock(speed=10_000), batches=Batches(**batches), batch=faults, fault=live)


@dataclass
class BatchNights:
    """Runs of one pipeline over one ledger, by batches."""

    folder: Path
    server: Simulator
    batch: dict[str, Any] = field(default_factory=dict)
    limits: dict[str, Any] = field(default_factory=dict)
    check: Check | None = None
    retry_failed: frozenset[str] | None = None
    params: dict[str, Any] = field(default_factory=lambda: {"max_completion_tokens": 200})
    seen: list[tuple[BatchState, ...]] = field(default_factory=list)  #: what was watched

    def pipeline(self) -> Pipeline:
        settings = Settings.model_validate(
            {
                "request": {"model": "m-1", "params": self.params},
                "limits": {"tier": "batch", "max_attempts": 3, "outage_patience_s": 5, **self.limits},
                "batch": {**FAST, **self.batch},
                "prices": PRICES,
                "provider": {"base_url": self.server.base_url, "like": "openai"},
                "input": {"id": "id"},
            }
        )
        return Pipeline("label", self.folder, settings, "Summarise: {{ text }}", SCHEMA, self.check, None, "v1")

    async def run(self, over: list[Row], **options: Any) -> Night:
        pipeline, tally = self.pipeline(), Tally()
        self.halt = halt = Halt()
        wired = wire(pipeline, tally, halt, None)
        tally.planned(len(over))
        ledger = await Ledger.open(self.folder / "l.duckdb")
        desk = BatchDesk(pipeline.settings.provider, note=tally.noted)
        try:
            run = await ledger.ask(lambda con: ledgers.begin(con, start(total=len(over))))
            caps = await wired.caps(ledger, run)
            engine = batch_api.Engine(
                ledger=ledger,
                run=run,
                renderer=Renderer(pipeline),
                judge=Judge(pipeline.schema, pipeline.check),
                desk=desk,
                observer=tally,
                halt=halt,
                max_attempts=pipeline.settings.limits.max_attempts,
                rows=lambda: iter(over),
                total=len(over),
                limits=limits_of(pipeline),
                purse=CapPurse(caps, WorstCase(pipeline, wired.prices, tier="batch")),
                cost=wired.cost,
                versions={"m-1": pipeline.version},
                id_column="id",
                retry_failed=self.retry_failed,
                live_below=pipeline.settings.batch.live_below,
                watch=self.seen.append,
                **options,
            )
            self.rest = list(await batch_api.answer(engine))
            self.flight = engine.flight
            answers = await ledger.ask(lambda con: answers_between(con, run, 0, len(over)))
            status = "finished" if halt.reason is None and not engine.flight else "stopped"
            await ledger.ask(
                lambda con: ledgers.end(con, run, ended_at=run.started_at, status=status, exit_code=0, report="{}")
            )
        finally:
            await wired.lanes[0].raw.close()
            await desk.close()
            await ledger.close()
        return Night(tally, halt, run, answers)

    async def spent(self) -> Decimal:
        """What the ledger says all runs cost."""
        ledger = await Ledger.open(self.folder / "l.duckdb")
        try:
            runs = await ledger.ask(ledgers.run_ids)
            dollars, _ = await ledger.ask(lambda con: ledgers.spent(con, tuple(runs)))
            return dollars
        finally:
            await ledger.close()

    async def billed(self) -> Decimal:
        """What the server's account says: batches at half the price."""
        await self.server.batches.settle()
        half, full = (Decimal(1) / 2, Decimal(5)), (Decimal(1), Decimal(10))
        return sum(
            (sums.dollars(*(half if tier == "batch" else full)) for tier, sums in self.server.account.by_tier.items()),
            Decimal(0),
        )

    def sizes(self) -> list[int]:
        """Requests of every batch of the server."""
        return [batch.total for batch in self.server.batches.batches.values()]

    def paid(self) -> Counter[str | None]:
        """How often each body was paid for."""
        return Counter(served.key for served in self.server.account.requests if served.usage)


def numbered(texts: list[str]) -> list[Row]:
    return rows(texts)


def states(nights: BatchNights) -> Iterator[BatchState]:
    for watched in nights.seen:
        yield from watched
