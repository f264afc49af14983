"""What a plan knows of the models that will be asked: one, or those of a ladder."""

from __future__ import annotations

import duckdb

from llmbatch import planning
from llmbatch.cli.foresight import foresee
from llmbatch.cli.spending import WorstCase
from llmbatch.pipeline import Pipeline
from llmbatch.planning.model import PlannedRung
from llmbatch.prices import PriceTable
from llmbatch.types import Request


class View:
    """Requests that a run would send, and what they will take; by model where there is a ladder."""

    def __init__(
        self,
        con: duckdb.DuckDBPyConnection,
        pipeline: Pipeline,
        prices: PriceTable,
        worst_case: WorstCase,
        *,
        rehearsal: bool,
    ) -> None:
        self._models = pipeline.settings.request.models
        self._version = pipeline.version
        whole = [pipeline, *(pipeline.rung(model) for model in pipeline.settings.request.ladder)]
        #: of the run; then, with a ladder, of each model's calls
        self.foresight, *self._rungs = (foresee(con, one, prices, worst_case, rehearsal=rehearsal) for one in whole)
        self._asked = [0] * len(self._models)

    def add(self, request: Request, rung: int) -> None:
        """Take in a request that is to be asked of one of the models."""
        self._asked[rung] += 1
        for one in self._rungs or [self.foresight]:
            one.sizes.add(request)

    @property
    def basis(self) -> str:
        """What the plan rests on, in words."""
        if not self._rungs:
            return self.foresight.learned.basis
        return "; ".join(f"{m}: {one.learned.basis}" for m, one in zip(self._models, self._rungs, strict=True))

    def costs(self, tier: str | None, rows: int) -> tuple[planning.Costs, tuple[PlannedRung, ...]]:
        """Of so many rows that are asked, and with a ladder by model."""
        if not self._rungs:
            return self.foresight.costs(tier, rows), ()
        part = rows / (sum(self._asked) or 1)  # twins are among those added
        reports = self.foresight.past.reports
        climbs = [
            planning.climb_from(reports, self._models, rung, self._version) for rung in range(len(self._models) - 1)
        ]
        a_row = [one.costs(tier, 1) for one in self._rungs]
        return planning.planned(self._models, [round(number * part) for number in self._asked], climbs, a_row)
