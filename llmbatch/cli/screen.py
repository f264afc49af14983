"""The terminal that is printed to: how wide it is, and whether it shows colours."""

from __future__ import annotations

import os
import shutil
import sys

_LEAST, _MOST, _ELSEWHERE = 40, 200, 100


def width() -> int:
    """Columns to fill: the terminal's, from 40 to 200; 100 anywhere else."""
    if not _is_terminal():
        return _ELSEWHERE
    return min(max(shutil.get_terminal_size().columns, _LEAST), _MOST)


def colored() -> bool:
    """Whether to colour: on a terminal, unless NO_COLOR or TERM=dumb says otherwise."""
    return _is_terminal() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _is_terminal() -> bool:
    return sys.stdout is not None and sys.stdout.isatty()
