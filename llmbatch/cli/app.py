"""The typer application, and the last gate: errors become one clear message and an exit status."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from llmbatch import __version__
from llmbatch.cli import cancel, care, compare, diff, grade, look, make, plan, reading, run, simulate, status, worker
from llmbatch.cli.gate import complain, complain_of_fault, guard_threads, speak
from llmbatch.cli.streams import outlive_readers
from llmbatch.errors import FAILURES, Exit, LlmbatchError

app = typer.Typer(
    name="llmbatch",
    help="Run one prompt over every row of a JSONL or Parquet file on an LLM: resumable, budgeted, validated.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command, help_ending in (
    (run.run, run.EXIT_STATUS),
    (plan.plan, plan.EXIT_STATUS),
    (worker.worker, worker.WORKER_EXIT_STATUS),
    (worker.enqueue, worker.ENQUEUE_EXIT_STATUS),
    (compare.compare, compare.EXIT_STATUS),
    (make.check, make.EXIT_STATUS),
    (make.init, make.EXIT_STATUS),
    (status.status, status.EXIT_STATUS),
    (cancel.cancel, cancel.EXIT_STATUS),
    (look.runs, reading.EXIT_STATUS),
    (look.report, reading.EXIT_STATUS),
    (look.show, reading.EXIT_STATUS),
    (diff.diff, reading.EXIT_STATUS),
    (grade.grade, grade.EXIT_STATUS),
    (care.doctor, care.DOCTOR_EXIT_STATUS),
    (care.gc, care.GC_EXIT_STATUS),
    (simulate.simulate, simulate.EXIT_STATUS),
):
    app.command(epilog=help_ending)(command)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"llmbatch {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None: ...


_CLASS = "|".join(FAILURES)
#: flags whose value may be left out: what then stands for it, and what its value looks like
_OPTIONAL_VALUES = {
    "--retry-failed": ("all", re.compile(rf"all|({_CLASS})(,({_CLASS}))*")),
    "--wait": ("forever", re.compile(r"forever|\d+(\.\d+)?[smhd]?")),
}


def _fill_in(argv: Sequence[str]) -> list[str]:
    """Give flags that stand without their optional value its default, which click cannot express."""
    filled = []
    for i, word in enumerate(argv):
        filled.append(word)
        if word in _OPTIONAL_VALUES:
            default, shape = _OPTIONAL_VALUES[word]
            following = argv[i + 1] if i + 1 < len(argv) else ""
            if not shape.fullmatch(following):
                filled.append(default)
    return filled


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    os.umask(0o077)  # ledgers, results and reports are for their owner only
    outlive_readers()
    debug = bool(os.environ.get("LLMBATCH_DEBUG"))
    guard_threads(whole=debug)
    words = _fill_in(sys.argv[1:] if argv is None else argv)
    speak(words)
    try:
        result = app(args=words, prog_name="llmbatch", standalone_mode=False)
        return int(result or Exit.OK)
    except LlmbatchError as error:
        complain(error.message, error.hint, error.exit_code)
        return error.exit_code
    except typer.Exit as stop:
        return stop.exit_code
    except typer.Abort:
        return Exit.SIGINT
    except Exception as error:  # noqa: BLE001 - the last gate
        if type(error).__module__.startswith("typer._click"):
            message, hint = _usage(error)
            if message:  # else click has said it all: `llmbatch` alone prints the help
                complain(message, hint, Exit.USER_ERROR)
            return Exit.USER_ERROR
        complain_of_fault(error, whole=debug)
        return Exit.BUG


def _usage(error: Exception) -> tuple[str, str | None]:
    """The words of click's usage errors."""
    message = error.format_message() if hasattr(error, "format_message") else str(error)
    context = getattr(error, "ctx", None)
    return message, f"see `{context.command_path} --help`" if context else None
