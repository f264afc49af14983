"""A night in miniature: real ledger, real HTTP, the simulator in the place of what costs money."""

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import pytest

from llmbatch import ledger as ledgers
from llmbatch.cli.crew import Crew
from llmbatch.cli.wiring import wire
from llmbatch.engines import live
from llmbatch.halt import Halt
from llmbatch.ledger import Ledger, RowAnswer, Run, answers_between
from llmbatch.pipeline import Check, Pipeline
from llmbatch.providers.wrap import Cutter
from llmbatch.render import Renderer
from llmbatch.settings import Settings
from llmbatch.tally import Tally
from llmbatch.types import Row
from llmbatch.validate import Judge
from tests.engines.near import NearLink
from tests.ledger.conftest import start

SCHEMA = {
    "type": "object",
    "properties": {"summary": {"type": "string"}},
    "required": ["summary"],
    "additionalProperties": False,
}


def rows(texts: Iterable[str]) -> list[Row]:
    return [Row(n, {"id": f"r{n}", "text": text}, "rows.jsonl", n + 1) for n, text in enumerate(texts)]


@dataclass
class Night:
    """One run of a pipeline over rows, and what it left."""

    tally: Tally
    halt: Halt
    run: Run
    answers: dict[int, RowAnswer]

    def statuses(self) -> dict[str, int]:
        return {status.value: count for status, count in self.tally.rows.items() if count}


@dataclass
class Nights:
    """Runs of one pipeline over one ledger."""

    folder: Path
    base_url: str
    check: Check | None = None
    limits: dict[str, Any] = field(default_factory=dict)
    prompt: str = "Summarise: {{ text }}"
    prices: dict[str, Any] = field(default_factory=dict)
    retry_failed: frozenset[str] | None = None
    params: dict[str, Any] = field(default_factory=dict)
    rehearsal: bool = True
    open_rows: int = 5_000
    usual_workers: ClassVar[int] = 0
    workers: int = field(
        default_factory=lambda: Nights.usual_workers
    )  #: that make the calls, in this process but as on a cluster; 0: none, the live engine makes them
    in_flight: int = 64
    links: list[NearLink] = field(default_factory=list)  #: to the workers, those that are lost too

    def pipeline(self) -> Pipeline:
        request = {"model": "m-1", "params": self.params}
        limits = {"timeout_s": 5, "max_attempts": 3, **self.limits}
        tables = {"request": request, "limits": limits, "prices": self.prices, "provider": {"base_url": self.base_url}}
        settings = Settings.model_validate({**tables, "input": {"id": "id"}})
        return Pipeline("label", self.folder, settings, self.prompt, SCHEMA, self.check, None, "v1")

    async def run(self, over: list[Row], *, meanwhile: Callable[[Halt, Cutter], object] | None = None) -> Night:
        pipeline, tally, halt = self.pipeline(), Tally(), Halt()
        crew = Crew(self._recruit, self.workers, self.in_flight) if self.workers else None
        wired = wire(pipeline, tally, halt, None, crew)
        ledger = await Ledger.open(self.folder / "l.duckdb")
        async with _closing(ledger):
            run = await ledger.ask(lambda con: ledgers.begin(con, start(total=len(over))))
            tally.planned(len(over))
            provider, timed = await wired.wrapped(ledger, run)
            engine = live.Engine(
                ledger=ledger,
                run=run,
                renderer=Renderer(pipeline),
                judge=Judge(pipeline.schema, pipeline.check),
                provider=provider,
                observer=tally,
                halt=halt,
                max_attempts=pipeline.settings.limits.max_attempts,
                id_column="id",
                retry_failed=self.retry_failed,
                rehearsal=self.rehearsal,
                tail=wired.tail,
                open_rows=self.open_rows,
            )
            if meanwhile is not None:
                meanwhile(halt, timed)
            await live.answer(engine, over)
            await provider.close()
            answers = await ledger.ask(lambda con: answers_between(con, run, 0, len(over)))
            status = "finished" if halt.reason is None else "stopped"
            await ledger.ask(
                lambda con: ledgers.end(con, run, ended_at=run.started_at, status=status, exit_code=0, report="{}")
            )
        assert tally.settled + sum(row.row_no not in answers for row in over) == len(over)
        return Night(tally, halt, run, answers)

    def _recruit(self) -> NearLink:
        self.links.append(NearLink())
        return self.links[-1]


@pytest.fixture(params=["live", pytest.param("workers", marks=pytest.mark.slow)])
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """What every engine must do, it is asked to do."""
    monkeypatch.setattr(Nights, "usual_workers", 2 if request.param == "workers" else 0)
    return str(request.param)


@asynccontextmanager
async def _closing(ledger: Ledger) -> AsyncIterator[None]:
    try:
        yield
    finally:
        await ledger.close()
