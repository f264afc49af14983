"""The last gate to the terminal: what people are told passes here, without secrets or what a terminal would obey."""

from __future__ import annotations

import re
import sys
import threading
import traceback
from typing import Any

import typer

from llmbatch.scrub import hide_values, scrub

#: JSON may hold these as they are, but a terminal that shows it would obey them
_OBEYED = re.compile(r"[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def shown(text: str) -> str:
    """Text from rows, models or people, fit for a terminal: what cannot be seen is spelt out, line ends stay."""
    from llmbatch.report.words import plain

    return "\n".join(plain(line) for line in hide_values(text).split("\n"))


def dumped(facts: Any) -> str:
    """Facts as indented JSON, fit for a terminal."""
    import orjson

    return escaped(orjson.dumps(facts, default=str, option=orjson.OPT_INDENT_2 | orjson.OPT_NAIVE_UTC).decode())


def escaped(text: str) -> str:
    """JSON with escapes in place of what a terminal would obey: the same data."""
    return hide_values(_OBEYED.sub(lambda match: f"\\u{ord(match[0]):04x}", text))


def complain(message: str, hint: str | None) -> None:
    """Say on standard error what is wrong, and how to mend it."""
    typer.echo(f"llmbatch: {shown(scrub(message))}", err=True)
    if hint:
        typer.echo(f"  {shown(scrub(hint))}", err=True)


def complain_of_fault(error: BaseException, *, whole: bool) -> None:
    """Say that llmbatch itself is at fault: with kind and place only, for the words may hold row text, or ``whole``."""
    if whole:
        typer.echo(shown(scrub("".join(traceback.format_exception(error)))), err=True, nl=False)
        return
    hint = "LLMBATCH_DEBUG=1 shows the traceback, which may quote a row; please report it"
    complain(f"this is a fault in llmbatch: {_where(error)}", hint)


def guard_threads(*, whole: bool) -> None:
    """Let faults in threads pass the gate too."""

    def hook(args: threading.ExceptHookArgs) -> None:
        if args.exc_value is not None and sys.stderr is not None:
            complain_of_fault(args.exc_value, whole=whole)

    threading.excepthook = hook


def _where(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = f" at {trace.tb_frame.f_code.co_filename.rpartition('/')[2]}:{trace.tb_lineno}" if trace else ""
    return f"{type(error).__name__}{place}"
