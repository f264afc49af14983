"""One batch: what it was created with, where it stands, and its files once it has ended."""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass, field
from typing import Any

from llmbatch.simulator.batches.store import StoredFile
from llmbatch.simulator.batches.tables import BatchFault
from llmbatch.simulator.batches.timeline import ENDED, Timeline


@dataclass(slots=True)
class Batch:
    """A batch of the server."""

    id: str
    nth: int  #: 1-based, in the order of creation
    input: StoredFile
    endpoint: str
    window: str
    metadata: dict[str, str] | None
    faults: tuple[BatchFault, ...]
    timeline: Timeline
    total: int  #: rows of its file
    tokens: int  #: enqueued, four bytes each
    ids: frozenset[str] | None  #: its custom_ids, where the account keeps details
    failed: int = 0  #: rows in the error file that were tried
    output_id: str | None = None
    error_id: str | None = None
    settled: bool = False  #: its files are written and its rows billed
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    def live(self, now: float) -> bool:
        """Whether it has not ended."""
        return self.timeline.status(now) not in ENDED

    def done(self, now: float) -> int:
        """Rows that are done at a time."""
        return math.floor(self.total * self.timeline.done(now) + 1e-9)

    def as_json(self, now: float) -> dict[str, Any]:
        """The batch object."""
        line = self.timeline
        status = line.status(now)
        times = {
            "in_progress_at": None if line.failure or now < line.begins_at else line.begins_at,
            "finalizing_at": line.done_at if status in ("finalizing", "completed") else None,
            "cancelling_at": line.cancelled_at,
            **{f"{end}_at": line.ends_at if status == end else None for end in sorted(ENDED)},
        }
        errors = None
        if status == "failed" and line.failure is not None:
            code, message = line.failure
            errors = {"object": "list", "data": [{"code": code, "message": message, "line": None, "param": None}]}
        return {
            "id": self.id,
            "object": "batch",
            "endpoint": self.endpoint,
            "errors": errors,
            "input_file_id": self.input.id,
            "completion_window": self.window,
            "status": status,
            "output_file_id": self.output_id,
            "error_file_id": self.error_id,
            "created_at": int(line.created_at),
            "expires_at": int(line.expires_at),
            **{name: None if at is None else int(at) for name, at in times.items()},
            "request_counts": {
                "total": 0 if line.failure else self.total,
                "completed": self.done(now) - self.failed,
                "failed": self.failed,
            },
            "metadata": self.metadata,
        }
