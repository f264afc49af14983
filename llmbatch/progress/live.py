"""Progress on a terminal, drawn over and over in place."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable
from io import StringIO
from types import TracebackType
from typing import Self, TextIO

from rich.cells import cell_len
from rich.console import Console

from llmbatch.progress.frame import render
from llmbatch.progress.snapshot import Snapshot
from llmbatch.progress.ticker import Ticker

_PERIOD_S = 0.25
_ELSEWHERE = 80  #: columns where nobody says how many there are
_HIDE, _SHOW, _TO_END, _BELOW = "\x1b[?25l", "\x1b[?25h", "\x1b[K", "\x1b[J"


class Live:
    """A bar and counts, redrawn four times a second; the last picture stays when it is left.

    Terminals break the lines of a picture anew when they get narrower, so the next one starts as many lines higher as
    the last one takes now. Those that cut lines off instead get the next picture below the last.
    """

    def __init__(self, stream: TextIO, look: Callable[[], Snapshot], pipeline: str) -> None:
        self._stream, self._look, self._pipeline = stream, look, pipeline
        self._drawn: list[str] = []  # the last picture, without colours
        self._width = 0
        self._reflows = "XTERM_VERSION" not in os.environ and os.environ.get("TERM") != "linux"
        self._lock = threading.Lock()
        self._ticker = Ticker(_PERIOD_S, self.draw)

    def __enter__(self) -> Self:
        self._write(_HIDE)
        self.draw()
        self._ticker.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ticker.__exit__(kind, error, trace)
        self.draw()
        self._write(f"\n{_SHOW}")

    def end(self, status: str, exit_code: int) -> None:
        """Say nothing: the report follows."""

    def draw(self) -> None:
        """Draw the picture of this moment over the last one."""
        with self._lock:
            width = self._columns()
            picture = render(self._look(), self._pipeline, width)
            start = self._back_to_start(width)
            lines = _colored(picture, width)
            self._write(start + "\n".join(line + _TO_END for line in lines) + _BELOW)
            self._drawn, self._width = picture.plain.split("\n"), width

    def _back_to_start(self, width: int) -> str:
        """What brings the cursor from the end of the last picture to its start."""
        if not self._drawn:
            return "\r"
        if width < self._width and not self._reflows:
            return "\n"
        rows = sum(max(1, -(-cell_len(line) // width)) for line in self._drawn)
        return "\r" + (f"\x1b[{rows - 1}A" if rows > 1 else "")

    def _columns(self) -> int:
        """All but the last: a line that fills its row may or may not move the cursor on."""
        try:
            columns = os.get_terminal_size(self._stream.fileno()).columns
        except (OSError, ValueError):
            columns = 0
        return max((columns or _ELSEWHERE) - 1, 1)

    def _write(self, text: str) -> None:
        with contextlib.suppress(OSError, ValueError):  # the terminal is gone; the run goes on
            self._stream.write(text)
            self._stream.flush()


def _colored(picture: object, width: int) -> list[str]:
    console = Console(
        file=StringIO(), width=width, height=100, force_terminal=True, markup=False, highlight=False, emoji=False,
        color_system=None if os.environ.get("NO_COLOR") else "standard", legacy_windows=False,
    )  # fmt: skip
    with console.capture() as capture:
        console.print(picture, end="")
    return capture.get().split("\n")
