"""The displays' one interface, and which of them a run gets."""

from __future__ import annotations

import os
from types import TracebackType
from typing import Protocol, Self, TextIO

from llmbatch.progress.gauges import Gauges
from llmbatch.progress.lines import Lines
from llmbatch.progress.meter import Meter
from llmbatch.tally import Tally


class Display(Protocol):
    """Shows a run while it is entered, from a thread of its own. Never raises."""

    def __enter__(self) -> Self:
        """Begin."""
        ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the last state standing."""
        ...

    def end(self, status: str, exit_code: int) -> None:
        """Say how the run ended; after the display was left."""
        ...


class Silent:
    """Shows nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def end(self, status: str, exit_code: int) -> None:
        """Say nothing."""


def choose(stream: TextIO, tally: Tally, gauges: Gauges, pipeline: str, *, quiet: bool = False) -> Display:
    """The display that fits: none when quiet, a live one on a terminal, lines anywhere else."""
    if quiet:
        return Silent()
    meter = Meter(tally, gauges)
    if not stream.isatty() or os.environ.get("TERM") in ("dumb", "unknown"):
        return Lines(stream, meter, pipeline)
    from llmbatch.progress.live import Live  # rich takes 40 ms to import

    return Live(stream, meter.snapshot, pipeline)
