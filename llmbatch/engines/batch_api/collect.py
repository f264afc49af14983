"""Fetching an ended batch: both its files, whatever its state, joined by custom_id, in constant memory.

An answer is stored in one commit with the note that its line is dealt with, so a collection that dies is gone on with
and counts nothing twice.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING, TypeVar

from llmbatch.engines.batch_api import answers, steps
from llmbatch.engines.batch_api.answers import Line, Times
from llmbatch.engines.batch_api.patience import Patience
from llmbatch.errors import Decision
from llmbatch.ledger import BatchRequest, OpenBatch, batches
from llmbatch.providers.batches import RemoteBatch
from llmbatch.providers.modes import Wire as Form
from llmbatch.types import Attempt, Usage

if TYPE_CHECKING:
    from llmbatch.engines.batch_api.engine import Engine

T = TypeVar("T")

_GROUP = 250  #: lines stored at once

#: dollars of (usage, returned model, returned tier, model asked); None when unknown
Cost = Callable[[Usage | None, str | None, str | None, str], Decimal | None]


class Collector:
    """Brings answers into the ledger, as attempts of a run. Raises Stop and StorageError."""

    def __init__(self, engine: Engine, patience: Patience) -> None:
        self._engine = engine
        self._ledger = engine.ledger
        self._desk = engine.desk
        self._patience = patience
        self._run_no = engine.run.run_no

    async def collect(
        self, batch: OpenBatch, remote: RemoteBatch, took_s: float, form: Form
    ) -> tuple[Counter[str], str | None]:
        """Store everything a batch brought.

        Returns what became of its requests, and the provider's words when it refused every one for what they share.
        """
        became: Counter[str] = Counter()
        times = Times(batch.made_at, took_s)
        refused: str | None = None
        for file_id in (remote.output_file, remote.error_file):
            async for group in self._groups(file_id):
                lines = {line.key: line for line in map(answers.read, group) if line is not None}
                became["foreign_or_twice"] += len(group) - len(lines)
                stored, words = await _whole(self._store(batch, lines, times, form))
                became, refused = became + stored, words or refused
                steps.passed("partly_collected")
        became += await self._rest(batch, remote, times)
        steps.passed("answers_stored")
        return became, None if became["answered"] or became["other_form"] else refused

    async def _groups(self, file_id: str | None) -> AsyncIterator[list[bytes]]:
        """The lines of a file, some at a time. After a fault it is fetched anew, and what is dealt with passed over."""
        if file_id is None:
            return
        done, trial = 0, self._patience.trial()
        while True:
            try:
                async for group in _grouped(self._desk.lines(file_id), skip=done):
                    done, trial = done + len(group), self._patience.trial()
                    yield group
                return
            except Decision as error:
                await trial.failed(error)

    async def _store(
        self, batch: OpenBatch, lines: dict[str, Line], times: Times, form: Form
    ) -> tuple[Counter[str], str | None]:
        """What became of some lines, and words of a refusal among them that means every row."""
        asked = await self._ledger.ask(lambda con: batches.asked(con, batch.intent, lines))
        became: Counter[str] = Counter()
        never = [line for key, line in lines.items() if key in asked and line.never_tried]
        expired = [line.key for line in never if not line.cancelled]
        cancelled = [line.key for line in never if line.cancelled]
        other_form = [
            key
            for key, line in lines.items()
            if key in asked and line.status not in (None, 200) and self._desk.step_down(form, line.status, line.body)
        ]
        for keys, what in ((expired, "expired"), (cancelled, "cancelled"), (other_form, "other_form")):
            await self._ledger.ask(
                lambda con, keys=keys, what=what: batches.add_lines(con, batch.intent, self._run_no, keys, what)  # type: ignore[misc]
            )
            became[what] += len(keys)
        tried = [asked[key] for key in lines if key in asked and key not in {*expired, *cancelled, *other_form}]
        twice = await self._answered_meanwhile(batch, tried)
        outcomes = await asyncio.gather(
            *(self._record(batch, r, lines[r.key], times, twice=r.key in twice) for r in tried)
        )
        became.update(outcomes)
        became["foreign_or_twice"] += len(lines) - len(asked)
        refusal = next((request for request in tried if answers.refuses_all(lines[request.key])), None)
        return became, None if refusal is None else answers.decision_of(lines[refusal.key], refusal)[2]

    async def _answered_meanwhile(self, batch: OpenBatch, requests: Sequence[BatchRequest]) -> set[str]:
        """Keys of those that a call was made for since the batch was; none where nobody makes calls."""
        if self._engine.twice is None:
            return set()
        keys = [request.key for request in requests]
        return await self._ledger.ask(lambda con: batches.answered_since(con, batch.made_at, keys))

    async def _record(
        self, batch: OpenBatch, request: BatchRequest, line: Line | None, times: Times, *, twice: bool = False
    ) -> str:
        asked = answers.as_asked(request)
        attempt = replace(answers.attempt_of(request, line, times, self._desk.hidden), model=asked.model)
        if attempt.reply is not None:
            reply = attempt.reply
            attempt = replace(attempt, cost_usd=self._engine.cost(reply.usage, reply.model, reply.tier, asked.model))
        self._engine.observer.attempted(attempt)
        if twice and attempt.reply is not None and self._engine.twice is not None:
            self._engine.twice(attempt)
        first, version = asked if request.number == 1 else None, self._engine.versions.get(asked.model, "")
        await self._ledger.record(self._run_no, attempt, first, version, batch.intent)
        self._engine.purse.spend(_spent(attempt, request))
        return attempt.outcome

    async def _rest(self, batch: OpenBatch, remote: RemoteBatch, times: Times) -> Counter[str]:
        """Requests that are in none of the files. Those of a completed batch may have been billed."""
        became: Counter[str] = Counter()
        while left := await self._ledger.ask(lambda con: batches.unanswered(con, batch.intent, _GROUP)):
            if remote.status == "completed":
                await _whole(asyncio.gather(*(self._record(batch, request, None, times) for request in left)))
                became["in_no_file"] += len(left)
            else:
                keys = [request.key for request in left]
                what = "cancelled" if remote.status == "cancelled" else "expired"
                await self._ledger.ask(
                    lambda con, keys=keys, what=what: batches.add_lines(con, batch.intent, self._run_no, keys, what)  # type: ignore[misc]
                )
                became[what] += len(left)
        return became


async def _whole(work: Awaitable[T]) -> T:
    """Bring it to its end, even if whoever waits is cancelled: what is stored must be counted too."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await task
        raise


async def _grouped(lines: AsyncIterator[bytes], *, skip: int) -> AsyncIterator[list[bytes]]:
    group: list[bytes] = []
    async for line in lines:
        if skip:
            skip -= 1
            continue
        group.append(line)
        if len(group) >= _GROUP:
            yield group
            group = []
    if group:
        yield group


def _spent(attempt: Attempt, request: BatchRequest) -> Decimal:
    """What counts against the budget: the cost, or the worst case where it may have been billed and is not known."""
    if attempt.cost_usd is not None:
        return attempt.cost_usd
    return (request.worst_usd or Decimal(0)) if attempt.possibly_paid or attempt.reply is not None else Decimal(0)
