"""Lines of JSON, one an event, for programs that read logs."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal, TextIO, TypeAlias

import orjson

from llmbatch.scrub import escaped, scrub

Level: TypeAlias = Literal["info", "warning", "error"]


class EventLog:
    """Writes events. Every line has ``time`` (UTC, to the millisecond), ``level``, ``event``, ``run_id``, ``pipeline``.

    Never raises: a log that nobody reads any more does not end a run. May be called from any thread.

    Attributes:
        run_id: on every line from now on; None before there is a run.
        pipeline: likewise.
    """

    def __init__(self, stream: TextIO, *, quiet: bool = False) -> None:
        self.run_id: str | None = None
        self.pipeline: str | None = None
        self._stream, self._quiet = stream, quiet
        self._lock = threading.Lock()

    def write(self, event: str, level: Level = "info", **facts: object) -> None:
        """Write an event; when quiet, only warnings and errors."""
        if self._quiet and level == "info":
            return
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        head = {"time": now, "level": level, "event": event, "run_id": self.run_id, "pipeline": self.pipeline}
        line = orjson.dumps(_clean(head | facts), default=float).decode()
        with self._lock, contextlib.suppress(OSError, ValueError):  # the reader is gone; the run goes on
            self._stream.write(escaped(line) + "\n")
            self._stream.flush()


def _clean(value: Any) -> Any:
    """The same facts without secrets, and without the lone surrogates of odd file names, which are no UTF-8."""
    if isinstance(value, str):
        return scrub(value.encode("utf-8", "replace").decode())
    if isinstance(value, Mapping):
        return {str(key): _clean(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(inner) for inner in value]
    return value
