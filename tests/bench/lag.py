"""llmbatch with a probe beside it: how late the event loop is while a run commits, and how soon replies are durable::

    python -m tests.bench.lag run PIPELINE --input FILE ...

The probe is a task of this benchmark in llmbatch's own loop. Its own lateness is at most the CPU that the loop's thread
used meanwhile: the rest is the machine's, or that of other threads. Prints JSON on standard error at the end.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

from llmbatch.cli import app, night
from llmbatch.ledger import Ledger

_EVERY_S = 0.005


async def _probe(late: list[float], own: list[float]) -> None:
    while True:
        began, busy = time.perf_counter(), time.thread_time()
        await asyncio.sleep(_EVERY_S)
        late.append((time.perf_counter() - began - _EVERY_S) * 1e3)
        own.append(min(late[-1], (time.thread_time() - busy) * 1e3))


def _beside(answer: Any, late: list[float], own: list[float]) -> Any:
    async def probed(*args: object) -> object:
        probe = asyncio.create_task(_probe(late, own))
        try:
            return await answer(*args)
        finally:
            probe.cancel()

    return probed


def _timed(record: Any, waited: list[float]) -> Any:
    async def timed(*args: object) -> object:
        began = time.perf_counter()
        seq = await record(*args)
        waited.append((time.perf_counter() - began) * 1e3)
        return seq

    return timed


def main() -> None:
    """Run llmbatch with the arguments given."""
    late: list[float] = []
    own: list[float] = []
    waited: list[float] = []
    night.answer = _beside(night.answer, late, own)
    Ledger.record = _timed(Ledger.record, waited)  # type: ignore[method-assign]
    try:
        app.main()
    finally:
        found = {"lag_ms": late, "own_lag_ms": own, "durable_ms": waited}
        print(json.dumps({name: _quantiles(values) for name, values in found.items()}), file=sys.stderr)


def _quantiles(values: list[float]) -> dict[str, float]:
    values = sorted(values) or [0.0]
    at = {"p50": 0.5, "p99": 0.99, "p999": 0.999}
    found = {name: values[int(len(values) * share)] for name, share in at.items()} | {"max": values[-1]}
    return {name: round(ms, 1) for name, ms in found.items()}


if __name__ == "__main__":
    main()
