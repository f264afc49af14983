"""A batch that is being filled: its requests go to the ledger as they come, its intent when it is full."""

from __future__ import annotations

import math
import secrets
from dataclasses import dataclass, field
from decimal import Decimal

from llmbatch.engines.batch_api import steps
from llmbatch.ledger import BatchRequest, Ledger, OpenBatch, batches

_SLICE = 500  #: requests stored at once
_SLICE_CHARS = 4 * 2**20  #: and of their bodies, as soon as there are more

#: a low estimate of the bytes that make a token; so the tokens of a file are estimated high
_BYTES_A_TOKEN = 3


def tokens_of(line: str) -> int:
    """Estimated tokens that a line enqueues."""
    return math.ceil(len(line.encode()) / _BYTES_A_TOKEN)


@dataclass(slots=True)
class Fill:
    """What is gathered for the next batch."""

    ledger: Ledger
    intent: str = field(default_factory=lambda: f"lb_{secrets.token_hex(12)}")
    keys: set[str] = field(default_factory=set)  #: at most as many as a file may have
    bytes: int = 0
    tokens: int = 0
    worst_usd: Decimal = Decimal(0)
    _slice: list[BatchRequest] = field(default_factory=list)
    _slice_chars: int = 0
    _stored: int = 0

    @property
    def requests(self) -> int:
        """So far."""
        return len(self.keys)

    async def add(self, request: BatchRequest) -> None:
        """Take a request in. Raises StorageError."""
        self.keys.add(request.key)
        self.bytes += len(request.body.encode()) + 1
        self.tokens += tokens_of(request.body)
        self.worst_usd += request.worst_usd or 0
        self._slice.append(request)
        self._slice_chars += len(request.body)
        if len(self._slice) >= _SLICE or self._slice_chars > _SLICE_CHARS:
            await self._store()

    async def mean(self, run_no: int, now: float) -> OpenBatch:
        """Store the rest and the intent: from here on the batch is to be created, once. Raises StorageError."""
        if self._slice:
            await self._store()
        batch = OpenBatch(self.intent, run_no, now, self.requests, self.bytes, self.tokens, self.worst_usd)
        await self.ledger.ask(lambda con: batches.add_batch(con, batch))
        steps.passed("meant")
        return batch

    async def _store(self) -> None:
        requests, first = self._slice, self._stored
        self._slice, self._slice_chars, self._stored = [], 0, first + len(requests)
        await self.ledger.ask(lambda con: batches.add_requests(con, self.intent, first, requests))
        steps.passed("filling")
