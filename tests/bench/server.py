"""The simulator in a process of its own, with a limit that can change on the way::

    python -m tests.bench.server SCENARIO.json [AT_S REQUESTS_PER_MINUTE]

Prints its base URL and serves until it is told to end. ``/account`` has everything it was asked.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from pathlib import Path

import uvloop

from llmbatch.simulator import Scenario, Simulator

_TICK_S = 0.01


async def _serve(scenario: Scenario, change: tuple[float, float] | None) -> None:
    ended = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    async with Simulator(scenario) as server:
        print(server.base_url, flush=True)
        changing = asyncio.create_task(_change(server, *change)) if change else None
        await ended.wait()
        if changing is not None:
            changing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await changing


async def _change(server: Simulator, at_s: float, requests_per_minute: float) -> None:
    """Another limit, ``at_s`` after the first request; what the bucket holds or owes stays."""
    while not server.account.total.requests:
        await asyncio.sleep(_TICK_S)
    await asyncio.sleep(at_s)
    bucket = server._limits("")._buckets["requests"]
    bucket.capacity *= requests_per_minute / bucket.per_minute
    bucket.per_minute = requests_per_minute


def main() -> None:
    """Serve."""
    scenario = Scenario.model_validate_json(Path(sys.argv[1]).read_bytes())
    change = (float(sys.argv[2]), float(sys.argv[3])) if len(sys.argv) > 2 else None
    uvloop.run(_serve(scenario, change))


if __name__ == "__main__":
    main()
