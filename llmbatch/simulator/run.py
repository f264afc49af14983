"""The simulator as a process of its own."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from pathlib import Path

import orjson
import uvloop

from llmbatch.atomic import write_bytes
from llmbatch.errors import UsageError
from llmbatch.simulator.account import Account
from llmbatch.simulator.scenario import Scenario
from llmbatch.simulator.server import Simulator


def run(
    scenario: Scenario,
    host: str = "127.0.0.1",
    port: int = 0,
    *,
    account_file: Path | None = None,
    detail: bool = True,
    on_ready: Callable[[str], None] = lambda _: None,
) -> Account:
    """Serve until SIGINT or SIGTERM, then write the account and return it. Blocks; call it in the main thread.

    Args:
        scenario: how the server behaves.
        host: interface to listen on.
        port: 0 takes a free one.
        account_file: JSON file to write when the server ends.
        detail: keep every request in the account; False keeps sums only.
        on_ready: called once with the base URL when requests are taken.

    Raises:
        UsageError: the address cannot be listened on.
        StorageError: the account file cannot be written.
    """
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        account = runner.run(_serve(Simulator(scenario, host=host, port=port, detail=detail), on_ready))
    if account_file is not None:
        write_bytes(account_file, orjson.dumps(account.as_json(), option=orjson.OPT_INDENT_2))
    return account


async def _serve(server: Simulator, on_ready: Callable[[str], None]) -> Account:
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ended.set)
    try:
        await server.start()
    except OSError as error:
        raise UsageError(f"cannot listen on {server.base_url}: {error.strerror}") from None
    try:
        on_ready(server.base_url)
        await ended.wait()
    finally:
        await server.stop()
    return server.account
