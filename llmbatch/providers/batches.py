"""OpenAI's Files and Batches, through its SDK: the one gate between them and the batch engine.

Every method asks once and raises a Decision; who waits and asks again is the engine. Files go up and come down in
constant memory.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

import httpx2
import openai
import orjson
from openai.types import Batch

from llmbatch.errors import Decision, Refused, Transient
from llmbatch.limits.headers import retry_after
from llmbatch.providers.modes import Modes
from llmbatch.providers.modes import Wire as Form
from llmbatch.providers.openai import client_of, decide, shown, without, words_of
from llmbatch.providers.wire import MOST_BYTES, fault_of
from llmbatch.settings import ProviderSettings
from llmbatch.types import Request

T = TypeVar("T")

ENDPOINT: Literal["/v1/chat/completions"] = "/v1/chat/completions"
INTENT = "llmbatch_intent"  #: the batch's metadata with our id
_TIMEOUT_S = 600.0  #: of one call; an upload of 200 MB takes its time
_PAGE = 100
_GONE = 404

#: states after which nothing changes any more
ENDED = frozenset({"failed", "completed", "expired", "cancelled"})


@dataclass(frozen=True, slots=True)
class RemoteBatch:
    """A batch as the provider tells of it."""

    id: str
    status: str
    intent: str | None  #: our id, if it is one of ours
    created_at: float  #: by the provider's clock
    total: int
    completed: int
    failed: int
    input_file: str | None
    output_file: str | None
    error_file: str | None
    error_code: str | None  #: of a batch that failed as a whole
    error: str | None
    took_s: float | None = None  #: from creation to its last state, by the provider's clock

    @property
    def ended(self) -> bool:
        """Whether it is in its last state."""
        return self.status in ENDED


class BatchDesk:
    """Where batches are handed in and fetched. ``note`` receives what a person should know, once."""

    def __init__(
        self, settings: ProviderSettings, *, note: Callable[[str], None], forms: tuple[str, ...] | None = None
    ) -> None:
        self._client = client_of(settings, _TIMEOUT_S)
        self._key = self._client.api_key
        self._modes = Modes(note, forms)

    @property
    def form(self) -> Form:
        """How bodies are written now."""
        return self._modes.current

    @property
    def structured_output(self) -> str:
        """How the answer's form is asked for: json_schema, json_object or instructions."""
        return self._modes.current.mode.value

    def line(self, request: Request) -> str:
        """A request as a line of an upload: JSON text without a line end."""
        body = {"custom_id": request.key, "method": "POST", "url": ENDPOINT, "body": self._modes.body(request)}
        return orjson.dumps(body).decode()

    def step_down(self, used: Form, status: int, error: object) -> bool:
        """Learn from a row's refusal; True when it should be asked again in another form."""
        return self._modes.step_down(used, status, error)

    def hidden(self, text: str) -> str:
        """Text of an answer without the key, as a server would send that repeats its request."""
        return without(self._key, text)

    async def upload(self, path: Path, name: str) -> str:
        """Send a file; returns its id."""
        with path.open("rb") as file:
            stored = await _asked(self._client.files.create(file=(name, file), purpose="batch"))
        return str(stored.id)

    async def uploads(self) -> AsyncIterator[tuple[str, str]]:
        """(name, id) of every file that was sent for a batch."""
        after: str | openai.Omit = openai.omit
        while True:
            page = await _asked(self._client.files.list(purpose="batch", limit=_PAGE, after=after))
            for file in page.data:
                yield str(file.filename), str(file.id)
            if not page.data or not page.has_more:
                return
            after = page.data[-1].id

    async def delete(self, file_id: str) -> None:
        """Remove a file; one that is gone is well."""
        try:
            await _asked(self._client.files.delete(file_id))
        except Refused as error:
            if error.http_status != _GONE:
                raise

    async def create(self, file_id: str, intent: str, window: str) -> RemoteBatch:
        """Hand a batch in. After a Transient nobody knows whether it was taken."""
        made = self._client.batches.create(
            input_file_id=file_id,
            endpoint=ENDPOINT,
            completion_window=window,  # type: ignore[arg-type]  # some take more than 24h
            metadata={INTENT: intent},
        )
        return _remote(await _asked(made))

    async def batch(self, batch_id: str) -> RemoteBatch | None:
        """How a batch stands; None when the provider does not know it."""
        try:
            return _remote(await _asked(self._client.batches.retrieve(batch_id)))
        except Refused as error:
            if error.http_status == _GONE:
                return None
            raise

    async def batches(self) -> AsyncIterator[RemoteBatch]:
        """Every batch that the provider lists, newest first."""
        after: str | openai.Omit = openai.omit
        while True:
            page = await _asked(self._client.batches.list(limit=_PAGE, after=after))
            for batch in page.data:
                yield _remote(batch)
            if not page.data or not page.has_more:
                return
            after = page.data[-1].id

    async def cancel(self, batch_id: str) -> RemoteBatch | None:
        """Ask for a batch's end; None when it has ended, or is gone."""
        try:
            return _remote(await _asked(self._client.batches.cancel(batch_id)))
        except Decision as error:
            if error.http_status in (400, 409, _GONE):
                return None
            raise

    async def lines(self, file_id: str) -> AsyncIterator[bytes]:
        """The lines of a file, without their ends; none when the file is gone. A line of over 16 MiB is left out."""
        try:
            async for line in self._lines(file_id):
                yield line
        except Refused as error:
            if error.http_status != _GONE:
                raise

    async def _lines(self, file_id: str) -> AsyncIterator[bytes]:
        kept = bytearray()
        try:
            async with self._client.files.with_streaming_response.content(file_id) as response:
                async for chunk in response.iter_bytes(1 << 18):
                    kept += chunk
                    *whole, rest = kept.split(b"\n")
                    kept = rest if len(rest) <= MOST_BYTES else bytearray(b"!")
                    for line in whole:
                        if line:
                            yield bytes(line)
        except openai.APIError as error:
            raise _decision(error) from None
        except (httpx2.HTTPError, OSError) as error:
            raise fault_of(error, 0.0) from None
        if kept:
            yield bytes(kept)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()


async def _asked(call: Awaitable[T]) -> T:
    try:
        return await call
    except openai.APIError as error:
        raise _decision(error) from None


def _decision(error: openai.APIError) -> Decision:
    if isinstance(error, openai.APIConnectionError):
        return fault_of(error, 0.0)
    if not isinstance(error, openai.APIStatusError):
        return Transient("an answer that cannot be read", failure="broken_reply", possibly_paid=True)
    headers = {name.lower(): value for name, value in error.response.headers.items()}
    kind, failure = decide(error.status_code, headers, error.body)
    return kind(
        f"status {error.status_code}: {shown(words_of(error.status_code, headers, error.body))[:300]}",
        failure=failure,
        retry_after=retry_after(headers, time.time()),
        http_status=error.status_code,
    )


def _remote(batch: Batch) -> RemoteBatch:
    counts = batch.request_counts
    problems = batch.errors.data if batch.errors is not None and batch.errors.data else []
    first = problems[0] if problems else None
    ended_at = batch.completed_at or batch.expired_at or batch.cancelled_at or batch.failed_at
    return RemoteBatch(
        id=batch.id,
        status=str(batch.status),
        intent=(batch.metadata or {}).get(INTENT),
        created_at=float(batch.created_at or 0),
        total=counts.total if counts else 0,
        completed=counts.completed if counts else 0,
        failed=counts.failed if counts else 0,
        input_file=batch.input_file_id,
        output_file=batch.output_file_id,
        error_file=batch.error_file_id,
        error_code=first.code if first else None,
        error=shown((first.message or "").partition("{")[0])[:300] if first else None,  # it may quote a line of ours
        took_s=ended_at - batch.created_at if ended_at and batch.created_at else None,
    )
