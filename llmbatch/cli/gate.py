"""The last gate to the terminal: what people are told passes here, without secrets or what a terminal would obey."""

from __future__ import annotations

import sys
import threading
import traceback
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import typer

from llmbatch.errors import Exit
from llmbatch.scrub import escaped, hide_values, scrub

if TYPE_CHECKING:
    from llmbatch.outside.log import EventLog

_log: EventLog | None = None  # set when words on standard error are to be events


def speak(argv: Sequence[str]) -> None:
    """Tell everything from here on as the command line asks, even when the rest of it is a mistake."""
    global _log  # noqa: PLW0603 - the gate is one, as standard error is
    _log = None
    if _asks_for_json(argv):
        tell_events(quiet=False)


def tell_events(*, quiet: bool) -> None:
    """Tell everything from here on as events; when quiet, only warnings and errors."""
    from llmbatch.outside.log import EventLog

    global _log  # noqa: PLW0603
    _log = EventLog(sys.stderr, quiet=quiet)


def event_log() -> EventLog | None:
    """Where events go; None when people are spoken to."""
    return _log


def _asks_for_json(argv: Sequence[str]) -> bool:
    return "run" in argv and any(
        word == "--log-format=json" or (word == "--log-format" and following == "json")
        for word, following in zip(argv, [*argv[1:], ""], strict=True)
    )


def shown(text: str) -> str:
    """Text from rows, models or people, fit for a terminal: what cannot be seen is spelt out, line ends stay."""
    from llmbatch.report.words import plain

    return "\n".join(plain(line) for line in hide_values(text).split("\n"))


def dumped(facts: Any) -> str:
    """Facts as indented JSON, fit for a terminal."""
    import orjson

    return escaped(orjson.dumps(facts, default=str, option=orjson.OPT_INDENT_2 | orjson.OPT_NAIVE_UTC).decode())


def note(message: str) -> None:
    """Say on standard error what a person should know, and what changes nothing."""
    if _log is not None:
        _log.write("note", "warning", message=message)
        return
    typer.echo(f"llmbatch: note: {shown(scrub(message))}", err=True)


def repeat(line: str) -> None:
    """Hand on, to standard error, a line that the command of --on-finish printed."""
    if _log is not None:
        _log.write("on_finish_output", line=line)
        return
    typer.echo(shown(scrub(line)), err=True)


def complain(message: str, hint: str | None, exit_code: int) -> None:
    """Say on standard error what is wrong, and how to mend it."""
    if _log is not None:
        _log.write("error", "error", exit_code=int(exit_code), message=message, hint=hint)
        return
    typer.echo(f"llmbatch: {shown(scrub(message))}", err=True)
    if hint:
        typer.echo(f"  {shown(scrub(hint))}", err=True)


def complain_of_fault(error: BaseException, *, whole: bool) -> None:
    """Say that llmbatch itself is at fault: with kind and place only, for the words may hold row text, or ``whole``."""
    if whole:
        words = "".join(traceback.format_exception(error))
        if _log is not None:
            complain(words, None, Exit.BUG)
        else:
            typer.echo(shown(scrub(words)), err=True, nl=False)
        return
    hint = "LLMBATCH_DEBUG=1 shows the traceback, which may quote a row; please report it"
    complain(f"this is a fault in llmbatch: {_where(error)}", hint, Exit.BUG)


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
