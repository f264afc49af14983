"""Signals as reasons to stop: the first drains what is in flight, the second cuts it short."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from llmbatch.errors import Exit, Interrupted, Stop, StorageError
from llmbatch.halt import Halt

GRACE_S = 30.0  #: how long calls in flight may take to end after the run was told to stop

_SIGNALS = {
    signal.SIGINT: Exit.SIGINT,
    signal.SIGTERM: Exit.SIGTERM,
    signal.SIGHUP: Exit.SIGHUP,
}


@contextmanager
def stopping(halt: Halt, cut: Callable[[], None]) -> Iterator[None]:
    """Within: signals stop the run, and whatever stops it, calls in flight are cut short after the grace time."""
    loop = asyncio.get_running_loop()

    def on_signal(code: Exit) -> None:
        if halt:
            cut()
        halt.stop(Interrupted(code))

    def on_stop(_reason: Stop | StorageError) -> None:
        loop.call_later(GRACE_S, cut)

    halt.listen(on_stop)
    for number, code in _SIGNALS.items():
        loop.add_signal_handler(number, on_signal, code)
    try:
        yield
    finally:
        for number in _SIGNALS:
            loop.remove_signal_handler(number)
