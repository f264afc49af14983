"""Progress on a terminal, drawn over and over in place."""

from __future__ import annotations

from types import TracebackType
from typing import Self, TextIO

from rich.console import Console
from rich.live import Live as RichLive
from rich.text import Text

from llmbatch.progress.frame import render
from llmbatch.progress.meter import Meter

_PER_SECOND = 4


class Live:
    """A bar and counts, redrawn four times a second; the last picture stays when it is left."""

    def __init__(self, stream: TextIO, meter: Meter, pipeline: str) -> None:
        self._meter, self._pipeline = meter, pipeline
        self._console = Console(file=stream, markup=False, highlight=False, emoji=False)
        # standard output stays as it is: it may be a pipe that takes the report as JSON
        self._live = RichLive(
            console=self._console, get_renderable=self._draw, refresh_per_second=_PER_SECOND, redirect_stdout=False
        )

    def __enter__(self) -> Self:
        self._live.start(refresh=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def end(self, status: str, exit_code: int) -> None:
        """Say nothing: the report follows."""

    def _draw(self) -> Text:
        return render(self._meter.snapshot(), self._pipeline, self._console.width)
