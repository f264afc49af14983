"""What a run would do with each row, asked of the ledger and of nobody else: the live engine's way, up to the call."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import duckdb

from llmbatch.engines.ladder import Rules, standing
from llmbatch.ledger import Recall, known
from llmbatch.ledger.known import Known
from llmbatch.render import Renderer, RenderError
from llmbatch.types import Reply, Request, Row
from llmbatch.validate import Judge

_CHUNK = 500  #: rows looked up at once

REUSED, NEW, REASKED, FAILED, SKIPPED, TOO_LONG = "reused", "new", "reasked", "failed", "skipped", "too_long"


@dataclass(frozen=True, slots=True)
class Seen:
    """A row, what would become of it, and its request where it has one: to the model of a ladder where it stands."""

    row: Row
    kind: str
    request: Request | None
    rung: int = 0  #: which model that is
    key: str | None = None  #: of the request to the first model


@dataclass(frozen=True, slots=True)
class Preview:
    """What looking at rows takes."""

    renderer: Renderer
    judge: Judge
    max_attempts: int
    retry_failed: frozenset[str] | None = None  #: as the live engine has it
    rehearsal: bool = True

    def look(
        self, con: duckdb.DuckDBPyConnection, rows: Iterable[Row], earlier: Sequence[int] = ()
    ) -> Iterator[list[Seen]]:
        """Every row once, some at a time; nearly in order. Twins are told each by itself.

        ``earlier`` are the runs that had these rows before: what served a row then is recalled without a look-up.
        """
        rows, recall = iter(rows), Recall(earlier, simulated=self.rehearsal)
        held: list[Seen] = []  # to be looked up by key
        while chunk := [self._rendered(row) for row in islice(rows, _CHUNK)]:
            asked = [(seen.row.row_no, seen.request.key) for seen in chunk if seen.request is not None]
            served, told = recall.replies(con, asked), []
            for seen in chunk:
                reply = served.get(seen.request.key) if seen.request is not None else None
                if reply is not None and self._serves(seen.row, reply):
                    told.append(Seen(seen.row, REUSED, seen.request))
                else:
                    (told if seen.request is None else held).append(seen)
            if len(held) >= _CHUNK:
                told, held = told + self._looked_up(con, held), []
            yield told
        yield self._looked_up(con, held)

    def _serves(self, row: Row, reply: Reply) -> bool:
        verdict = self.judge.judge(row, reply)
        return verdict.valid and self.judge.low(row, verdict) is None

    def _looked_up(self, con: duckdb.DuckDBPyConnection, held: list[Seen]) -> list[Seen]:
        requests = [self._requests(seen) for seen in held]
        keys = {request.key for rungs in requests for request in rungs}
        stored = known(con, keys, simulated=self.rehearsal) if keys else {}
        return [self._judged(*both, stored) for both in zip(held, requests, strict=True)]

    def _requests(self, seen: Seen) -> tuple[Request, ...]:
        return () if seen.request is None else self.renderer.rungs(seen.request)

    def _rendered(self, row: Row) -> Seen:
        if row.problem is not None:
            return Seen(row, SKIPPED, None)
        try:
            request = self.renderer.request(self.renderer.fit(row))
            return Seen(row, NEW, request, key=request.key)
        except RenderError as error:
            return Seen(row, TOO_LONG if error.failure == "too_long" else FAILED, None)

    def _judged(self, seen: Seen, requests: tuple[Request, ...], stored: dict[str, Known]) -> Seen:
        """As the live engine settles a row on stored replies."""
        if not any(request.key in stored for request in requests):
            return seen
        at = standing(seen.row, requests, stored, Rules(self.judge, self.max_attempts, self.retry_failed))
        kind = REASKED if at.ask is not None else REUSED if at.failure is None else FAILED
        return Seen(seen.row, kind, at.request, requests.index(at.request), seen.key)
