"""llmbatch with a probe beside it: how late the event loop is while a run commits::

    python -m tests.bench.lag run PIPELINE --input FILE ...

The probe is a task of this benchmark in llmbatch's own loop. Prints its figures as JSON on standard error at the end.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

from llmbatch.cli import app, night

_EVERY_S = 0.005


async def _probe(late: list[float]) -> None:
    while True:
        began = time.perf_counter()
        await asyncio.sleep(_EVERY_S)
        late.append((time.perf_counter() - began - _EVERY_S) * 1e3)


def _beside(answer: Any, late: list[float]) -> Any:
    async def probed(*args: object) -> object:
        probe = asyncio.create_task(_probe(late))
        try:
            return await answer(*args)
        finally:
            probe.cancel()

    return probed


def main() -> None:
    """Run llmbatch with the arguments given."""
    late: list[float] = []
    night.answer = _beside(night.answer, late)
    try:
        app.main()
    finally:
        late.sort()
        at = {name: late[int(len(late) * share)] for name, share in (("p50", 0.5), ("p99", 0.99), ("p999", 0.999))}
        print(
            json.dumps({"lag_ms": {name: round(ms, 2) for name, ms in at.items()} | {"max": round(late[-1], 2)}}),
            file=sys.stderr,
        )


if __name__ == "__main__":
    main()
