"""What a run would do with each row, asked of the ledger and of nobody else: the live engine's way, up to the call."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

import duckdb

from llmbatch.ledger import known
from llmbatch.ledger.known import Known
from llmbatch.render import Renderer, RenderError
from llmbatch.types import Request, Row
from llmbatch.validate import FINAL, Judge

_CHUNK = 500  #: rows looked up at once

REUSED, NEW, REASKED, FAILED, SKIPPED, TOO_LONG = "reused", "new", "reasked", "failed", "skipped", "too_long"


@dataclass(frozen=True, slots=True)
class Seen:
    """A row, what would become of it, and its request where it has one."""

    row: Row
    kind: str
    request: Request | None


@dataclass(frozen=True, slots=True)
class Preview:
    """What looking at rows takes."""

    renderer: Renderer
    judge: Judge
    max_attempts: int
    retry_failed: frozenset[str] | None = None  #: as the live engine has it
    rehearsal: bool = True

    def look(self, con: duckdb.DuckDBPyConnection, rows: Iterable[Row]) -> Iterator[list[Seen]]:
        """Chunks of rows in order, each looked up at once. Twins are told each by itself."""
        rows = iter(rows)
        while chunk := [self._rendered(row) for row in islice(rows, _CHUNK)]:
            keys = {seen.request.key for seen in chunk if seen.request is not None}
            stored = known(con, keys, simulated=self.rehearsal) if keys else {}
            yield [self._judged(seen, stored) for seen in chunk]

    def _rendered(self, row: Row) -> Seen:
        if row.problem is not None:
            return Seen(row, SKIPPED, None)
        try:
            return Seen(row, NEW, self.renderer.request(self.renderer.fit(row)))
        except RenderError as error:
            return Seen(row, TOO_LONG if error.failure == "too_long" else FAILED, None)

    def _judged(self, seen: Seen, stored: dict[str, Known]) -> Seen:
        past = stored.get(seen.request.key) if seen.request is not None else None
        return seen if past is None else Seen(seen.row, self._kind(seen.row, past), seen.request)

    def _kind(self, row: Row, past: Known) -> str:
        """As the live engine settles a row on stored replies."""
        verdicts = [self.judge.judge(row, reply) for reply in past.replies]
        if any(verdict.valid for verdict in verdicts):
            return REUSED
        failure = past.rejection.failure if past.rejection else verdicts[-1].failure
        if self.retry_failed is not None and (not self.retry_failed or failure in self.retry_failed):
            return REASKED
        used_up = past.rejection is not None or failure in FINAL or past.replies[-1].number >= self.max_attempts
        return FAILED if used_up else REASKED
