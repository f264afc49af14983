"""--deadline: stop sending early enough that what is in flight, and the results, are done in time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime

from llmbatch.cli.order import until
from llmbatch.errors import DeadlineReached
from llmbatch.halt import Halt
from llmbatch.tally import Tally

_LEAST_MARGIN_S = 1.0
_LARGEST_SHARE = 0.25  #: of the time given, for draining and writing
_ROWS_WRITTEN_PER_S = 20_000  #: results written a second, a low estimate


@contextmanager
def keeping(deadline: str | None, tally: Tally, halt: Halt, cut: Callable[[], None]) -> Iterator[None]:
    """Within: the run is told to stop a margin before the deadline; calls still open shortly before it are cut."""
    if deadline is None:
        yield
        return
    given = until(deadline, datetime.now().astimezone())
    end = asyncio.get_running_loop().time() + given
    watch = asyncio.create_task(_watch(end, given, deadline, tally, halt, cut))
    try:
        yield
    finally:
        watch.cancel()


async def _watch(end: float, given: float, deadline: str, tally: Tally, halt: Halt, cut: Callable[[], None]) -> None:
    loop = asyncio.get_running_loop()
    while (left := end - loop.time()) > margin(given, tally):  # noqa: ASYNC110 - the margin moves with what is seen
        await asyncio.sleep(min(1.0, left - margin(given, tally)))
    halt.stop(DeadlineReached(f"deadline {deadline} reached"))
    writing = min(tally.total / _ROWS_WRITTEN_PER_S, given * _LARGEST_SHARE / 2)
    await asyncio.sleep(max(0.0, end - loop.time() - writing))
    cut()


def margin(given_s: float, tally: Tally) -> float:
    """Seconds before the deadline at which nothing new is sent: the slowest calls seen, and writing the results."""
    slow = tally.latency_s.quantile(0.99) or _LEAST_MARGIN_S
    wanted = _LEAST_MARGIN_S + 1.5 * slow + tally.total / _ROWS_WRITTEN_PER_S
    return min(wanted, given_s * _LARGEST_SHARE)
