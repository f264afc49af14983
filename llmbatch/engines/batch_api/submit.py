"""Handing batches in so that none is created twice, whatever dies when.

The intent is in the ledger before the upload, its id in the upload's name and in the batch's metadata. When nobody can
know whether a batch was created (a crash, a lost answer), the provider's list says so. A batch that is not listed is
looked for again when it must be listed by then; then its upload is removed, so that a request to create it that is
still under way fails; it is looked for once more, and only then given up.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

from llmbatch.engines.batch_api import steps
from llmbatch.engines.batch_api.flight import Flight
from llmbatch.engines.batch_api.patience import Patience
from llmbatch.errors import Transient
from llmbatch.ledger import Ledger, OpenBatch, batches
from llmbatch.providers.batches import BatchDesk, RemoteBatch

_SLICE = 500  #: lines read from the ledger at once


class Submitter:
    """Submits, adopts and gives up batches. Raises Stop and StorageError."""

    def __init__(
        self,
        ledger: Ledger,
        desk: BatchDesk,
        flight: Flight,
        patience: Patience,
        *,
        window: str,
        rest: Callable[[], Awaitable[None]],
    ) -> None:
        self._ledger = ledger
        self._desk = desk
        self._flight = flight
        self._patience = patience
        self._window = window
        self._rest = rest  #: waits until a batch that was created is surely listed

    async def submit(self, batch: OpenBatch) -> None:
        """Upload and create a batch that is meant."""
        self._flight.put(batch)
        self._flight.forms[batch.intent] = self._desk.form
        file_id = await self._upload(batch)
        steps.passed("uploaded")
        batch = await self._note(replace(batch, file_id=file_id), "uploaded", file_id)
        steps.passed("upload_noted")
        try:
            remote = await self._desk.create(file_id, batch.intent, self._window)
        except Transient as error:
            if error.possibly_paid:
                await self._resolve([batch])
            else:
                await self.submit_again(batch)
            return
        steps.passed("created")
        await self._created(batch, remote)
        steps.passed("creation_noted")

    async def submit_again(self, batch: OpenBatch) -> None:
        """Create a batch whose creation surely did not arrive."""
        assert batch.file_id is not None
        file_id = batch.file_id
        sure: list[Transient] = []

        async def create() -> RemoteBatch | None:
            try:
                return await self._desk.create(file_id, batch.intent, self._window)
            except Transient as error:
                if error.possibly_paid:
                    sure.append(error)
                    return None
                raise

        remote = await self._patience.insist(create)
        await (self._resolve([batch]) if remote is None else self._created(batch, remote))

    async def recover(self) -> None:
        """Find out what became of batches that an earlier run meant, and remove uploads that nobody needs."""
        for spooled in self._ledger.path.parent.glob(f"{self._ledger.path.name}.lb_*.jsonl"):
            spooled.unlink(missing_ok=True)  # of a run that was killed
        for batch in await self._ledger.ask(batches.open_batches):
            self._flight.put(batch)
        await self._resolve([batch for batch in self._flight.open.values() if batch.batch_id is None])
        for intent, file_id in await self._ledger.ask(batches.uploads_left):
            await self.remove(intent, file_id)

    async def remove(self, intent: str, file_id: str) -> None:
        """Remove an upload whose batch is done with."""
        await self._patience.insist(lambda: self._desk.delete(file_id))
        steps.passed("removed")
        await self._ledger.ask(lambda con: batches.add_event(con, intent, "removed", file_id))

    async def give_up(self, batch: OpenBatch, why: str) -> None:
        """A batch will bring nothing: its requests are free to be asked again."""
        await self._ledger.ask(lambda con: batches.add_event(con, batch.intent, "abandoned", None, why))
        self._flight.drop(batch.intent)
        if batch.file_id is not None:
            await self.remove(batch.intent, batch.file_id)

    async def _resolve(self, unknown: list[OpenBatch]) -> None:
        """Adopt those that exist, give up the others. Nothing is created before its upload is noted."""
        unknown = await self._adopt(unknown)
        if any(batch.file_id is not None for batch in unknown):
            await self._rest()
            unknown = await self._adopt(unknown)
        if unknown:
            await self._remove_uploads({batch.intent for batch in unknown})
            unknown = await self._adopt([batch for batch in unknown if batch.file_id is not None]) + [
                batch for batch in unknown if batch.file_id is None
            ]
        for batch in unknown:
            await self.give_up(replace(batch, file_id=None), "it was never created")

    async def _adopt(self, unknown: list[OpenBatch]) -> list[OpenBatch]:
        """Take what the provider lists; returns what it does not list."""
        if not unknown:
            return []
        wanted = {batch.intent: batch for batch in unknown}

        async def listed() -> dict[str, RemoteBatch]:
            return {r.intent: r async for r in self._desk.batches() if r.intent in wanted}

        for intent, remote in (await self._patience.insist(listed)).items():
            await self._created(wanted.pop(intent), remote)
        return list(wanted.values())

    async def _remove_uploads(self, intents: set[str]) -> None:
        async def stray() -> list[str]:
            return [file_id async for name, file_id in self._desk.uploads() if _intent_of(name) in intents]

        for file_id in await self._patience.insist(stray):
            await self._patience.insist(lambda file_id=file_id: self._desk.delete(file_id))  # type: ignore[misc]

    async def _upload(self, batch: OpenBatch) -> str:
        """Send a batch's lines; a file on disk stands between, so that memory holds a slice of them."""
        ledger = self._ledger.path
        handle, name = tempfile.mkstemp(prefix=f"{ledger.name}.{batch.intent}.", suffix=".jsonl", dir=ledger.parent)
        os.close(handle)
        path = Path(name)
        try:
            with path.open("wb") as file:  # noqa: ASYNC230 - a local disk, a slice at a time
                for low in range(0, batch.requests, _SLICE):
                    lines = await self._ledger.ask(
                        lambda con, low=low: batches.bodies(con, batch.intent, low, low + _SLICE)  # type: ignore[misc]
                    )
                    file.writelines(line.encode() + b"\n" for line in lines)
            return await self._patience.insist(
                lambda: self._desk.upload(path, _name_of(batch.intent)),
                between=lambda: self._remove_uploads({batch.intent}),  # it may have arrived all the same
            )
        finally:
            path.unlink(missing_ok=True)  # noqa: ASYNC240 - a local disk

    async def _created(self, batch: OpenBatch, remote: RemoteBatch) -> None:
        batch = replace(batch, batch_id=remote.id, file_id=batch.file_id or remote.input_file)
        if batch.file_id is not None and self._flight.open[batch.intent].file_id is None:
            await self._note(batch, "uploaded", batch.file_id)
        await self._note(batch, "created", remote.id)
        self._flight.remote[batch.intent] = remote

    async def _note(self, batch: OpenBatch, event: str, ref: str) -> OpenBatch:
        await self._ledger.ask(lambda con: batches.add_event(con, batch.intent, event, ref))
        self._flight.put(batch)
        return batch


def _name_of(intent: str) -> str:
    return f"llmbatch-{intent}.jsonl"


def _intent_of(name: str) -> str:
    return name.removeprefix("llmbatch-").removesuffix(".jsonl")
