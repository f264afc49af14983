"""--deadline: stop sending early enough that what is in flight, and the results, are done in time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from llmbatch.cli.order import Order, is_duration, until
from llmbatch.errors import DeadlineReached
from llmbatch.halt import Halt
from llmbatch.tally import Tally

_LEAST_MARGIN_S = 1.0
_LARGEST_SHARE = 0.25  #: of the time given, for draining and writing
_ROWS_WRITTEN_PER_S = 20_000  #: results written a second, a low estimate


@dataclass(frozen=True, slots=True)
class Due:
    """When a run is due."""

    words: str  #: as it was typed
    at: float  #: seconds since the epoch

    @property
    def left_s(self) -> float:
        """Seconds until then; not less than none."""
        return max(0.0, self.at - time.time())


def due(order: Order, before: Due | None = None) -> Due | None:
    """When the run is due; a duration that was typed ``before`` runs on, unless it is over. Raises UsageError."""
    if order.deadline is None:
        return None
    if before is not None and before.words == order.deadline and before.left_s and is_duration(order.deadline):
        return before
    return Due(order.deadline, time.time() + until(order.deadline, datetime.now().astimezone()))


@contextmanager
def keeping(due: Due | None, tally: Tally, halt: Halt, cut: Callable[[], None]) -> Iterator[None]:
    """Within: the run is told to stop a margin before the deadline; calls still open shortly before it are cut."""
    if due is None:
        yield
        return
    given = due.left_s
    end = asyncio.get_running_loop().time() + given
    watch = asyncio.create_task(_watch(end, given, due.words, tally, halt, cut))
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
