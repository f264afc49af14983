"""Progress as plain lines, for cron and log files.

Every line is ``llmbatch:`` and ``key=value`` pairs; the keys keep their names and order, and values have no spaces
unless they are in quotes::

    llmbatch: pipeline=tag status=running done=250 reused=0 failed=2 skipped=0 pending=31 total=283 usd=0.010400
        unpriced=0 seconds=30.0 rows_per_s=8.4 in_flight=16 eta_s=4
    llmbatch: pipeline=tag status=finished done=280 reused=0 failed=3 skipped=0 pending=0 total=283 usd=0.012300
        unpriced=0 seconds=34.1 exit=0

(each in one line). ``usd`` is what this run's attempts cost, as far as they are priced; ``unpriced`` counts the
others. What is not known is ``unknown``. Notes come as ``llmbatch: note: ...``, once each.
"""

from __future__ import annotations

import contextlib
import shlex
import threading
from collections.abc import Mapping
from types import TracebackType
from typing import Self, TextIO

from llmbatch.progress.meter import Meter
from llmbatch.progress.snapshot import Snapshot
from llmbatch.progress.ticker import Ticker
from llmbatch.progress.words import printable

_TICK_S = 1.0


class Lines:
    """A line every ``every_s`` seconds, notes as they come, and a last line at the end."""

    def __init__(self, stream: TextIO, meter: Meter, pipeline: str, *, every_s: float = 30.0) -> None:
        self._stream, self._meter, self._pipeline, self._every_s = stream, meter, pipeline, every_s
        self._due_s = every_s
        self._noted = 0
        self._lock = threading.Lock()
        self._ticker = Ticker(min(_TICK_S, every_s), self._tick)

    def __enter__(self) -> Self:
        self._ticker.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ticker.__exit__(kind, error, trace)
        self._print_notes(self._meter.snapshot())

    def end(self, status: str, exit_code: int) -> None:
        """Print the last line, the one to grep for."""
        now = self._meter.snapshot()
        self._print_notes(now)
        self._print(line_of(now, self._pipeline, status, {"exit": exit_code}))

    def _tick(self) -> None:
        now = self._meter.snapshot()
        self._print_notes(now)
        if now.seconds >= self._due_s:
            self._due_s = now.seconds + self._every_s
            speed: dict[str, object] = {"rows_per_s": _rounded(now.rows_per_s, 1), "in_flight": now.in_flight}
            if now.batches:
                done = sum(batch.completed + batch.failed for batch in now.batches)
                speed |= {"batches": len(now.batches), "batch_requests_done": done}
            self._print(line_of(now, self._pipeline, "running", speed | {"eta_s": _rounded(now.eta_s, 0)}))

    def _print_notes(self, now: Snapshot) -> None:
        with self._lock:
            new, self._noted = now.notes[self._noted :], len(now.notes)
        for note in new:
            self._print(f"llmbatch: note: {printable(note)}")

    def _print(self, line: str) -> None:
        with contextlib.suppress(OSError, ValueError):  # the reader is gone; the run goes on
            self._stream.write(line + "\n")
            self._stream.flush()


def line_of(now: Snapshot, pipeline: str, status: str, rest: Mapping[str, object]) -> str:
    """A line, as the module's head says."""
    rows = {name: now.rows[name] for name in ("done", "reused", "failed", "skipped", "pending", "total")}
    usd = "unknown" if now.cost_usd is None else f"{now.cost_usd:.6f}"
    facts = {"pipeline": shlex.quote(printable(pipeline)), "status": status, **rows, "usd": usd}
    facts |= {"unpriced": now.unpriced, "seconds": f"{now.seconds:.1f}", **rest}
    return "llmbatch: " + " ".join(f"{key}={value}" for key, value in facts.items())


def _rounded(number: float | None, places: int) -> str:
    return "unknown" if number is None else f"{number:.{places}f}"
