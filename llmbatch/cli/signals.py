"""SIGINT, SIGTERM and SIGHUP as reasons to stop: gently the first time, at once when one comes again.

while a run                         the first signal                   one more
waits, checks, reads its input      ends it: nothing was sent
opens the ledger, answers rows      lets calls in flight end           cuts them short
writes results and reports          lets it write them                 ends it: the older files stay whole

Once the ledger is open, the run ends with results and reports for what it has, unless a signal ends their writing. What
is stored stays stored in any case. A signal that is ignored when the run begins (nohup; a background process of a
script) stays ignored.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Self

from llmbatch.cli.order import how_to_go_on
from llmbatch.errors import Exit, Interrupted, Stop, StorageError
from llmbatch.halt import Halt

GRACE_S = 30.0  #: how long calls in flight may take to end after the run was told to stop

_SIGNALS = {
    signal.SIGINT: Exit.SIGINT,
    signal.SIGTERM: Exit.SIGTERM,
    signal.SIGHUP: Exit.SIGHUP,
}


class _AtOnce(BaseException):
    """Ends the run wherever it is. No Exception, so that nothing on its way takes it for a fault of its own.

    In the middle of a query DuckDB makes a RuntimeError of it.
    """


class Signals:
    """Heeds signals while entered, in the main thread. Raises Interrupted when one ends the run at once."""

    def __init__(self) -> None:
        self._taken = False
        self._ended: Interrupted | None = None
        self._heed: Callable[[Interrupted, bool], None] = self._end
        self._before = {n: before for n in _SIGNALS if (before := signal.getsignal(n)) is not signal.SIG_IGN}

    def __enter__(self) -> Self:
        for number in self._before:
            signal.signal(number, self._take)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)
        if error is not None and self._ended is not None:
            raise self._ended from None

    @contextmanager
    def stopping(self, halt: Halt, note: Callable[[str], None]) -> Iterator[list[Callable[[], None]]]:
        """Within the event loop: signals stop the run by ``halt``, and ``note`` says what one more would do.

        Yields a list for what cuts calls in flight short: called by a signal when the run is stopping, and when calls
        have not ended in the grace time, whatever stopped the run.
        """
        loop = asyncio.get_running_loop()
        cuts: list[Callable[[], None]] = []

        def cut() -> None:
            for each in cuts:
                each()

        def stop(reason: Interrupted) -> None:
            if halt:
                cut()
            else:
                note(f"{reason.message}: calls in flight get {GRACE_S:.0f} s to end; one more signal cuts them short")
                halt.stop(reason)

        def tell(reason: Interrupted, _again: bool) -> None:
            loop.call_soon_threadsafe(stop, reason)  # a signal comes in the middle of anything

        def on_stop(_reason: Stop | StorageError) -> None:
            loop.call_later(GRACE_S, cut)

        halt.listen(on_stop)
        self._heed = tell
        try:
            yield cuts
        finally:
            self._heed = _ignore  # the loop is closing

    @property
    def taken(self) -> bool:
        """Whether a signal came."""
        return self._taken

    def results_follow(self) -> None:
        """From now on results and reports are written."""
        self._heed = self._end_if_again

    def _take(self, number: int, _frame: FrameType | None) -> None:
        again, self._taken = self._taken, True
        reason = Interrupted(_SIGNALS[signal.Signals(number)])
        reason.hint = how_to_go_on()
        self._heed(reason, again)

    def _end(self, reason: Interrupted, _again: bool) -> None:
        self._ended = reason
        raise _AtOnce

    def _end_if_again(self, reason: Interrupted, again: bool) -> None:
        if again:
            reason.message += " while results and reports were written; those not finished are as they were"
            self._end(reason, again)


def _ignore(_reason: Interrupted, _again: bool) -> None:
    """Too late to stop anything."""
