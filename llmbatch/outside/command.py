"""--on-finish: a command of the user's that hears how a run ended, so that mail, chat or a webhook is one line.

It is run by ``/bin/sh -c`` after results and reports are in place and the ledger is free. It finds the outcome in its
environment (:data:`VARIABLES`) and report.json on its standard input; what it prints goes to standard error. It gets
a process group of its own, ended when its time is over. It never changes the exit status of the run.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, BinaryIO

from llmbatch.report.words import outcome, usd

if TYPE_CHECKING:
    from llmbatch.report import RunReport

#: what the command finds in its environment; always there, and empty where nothing is known
VARIABLES = {
    "LLMBATCH_STATUS": "`status` of report.json; without a report `not_started`, `storage_failed`, `interrupted` or"
    " `fault`",
    "LLMBATCH_EXIT_CODE": "the exit status of the run",
    "LLMBATCH_SUMMARY": "one line for a person: pipeline, how it ended, rows, dollars",
    "LLMBATCH_PIPELINE": "the pipeline's name",
    "LLMBATCH_RUN_ID": "the run, for `llmbatch report PIPELINE RUN`",
    "LLMBATCH_ROWS_TOTAL": "rows of the run; the sum of the next five",
    "LLMBATCH_ROWS_DONE": "rows by outcome",
    "LLMBATCH_ROWS_REUSED": "likewise",
    "LLMBATCH_ROWS_FAILED": "likewise",
    "LLMBATCH_ROWS_SKIPPED": "likewise",
    "LLMBATCH_ROWS_PENDING": "likewise",
    "LLMBATCH_COST_USD": "dollars of this run; empty when no price is known",
    "LLMBATCH_UNPRICED_ATTEMPTS": "answered calls that are not in that sum",
    "LLMBATCH_SECONDS": "how long the run took",
    "LLMBATCH_RESULTS": "path of the results; empty when none were written",
    "LLMBATCH_FAILED_JSONL": "path of failed.jsonl; likewise",
    "LLMBATCH_REPORT": "path of report.json",
    "LLMBATCH_HTML": "path of report.html",
    "LLMBATCH_LEDGER": "path of the ledger",
}

_SHELL = "/bin/sh"
_GRACE_S = 2.0  #: between SIGTERM and SIGKILL, and for the last words
_LONGEST_LINE = 4096  #: bytes of a line of output that are shown
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True, slots=True)
class Ending:
    """How a run ended."""

    pipeline: str
    exit_code: int
    status: str
    report: RunReport | None  #: None when the run ended before its report, or before it began
    reason: str | None  #: in one line, when there is no report

    def environment(self) -> dict[str, str]:
        """The variables and their values."""
        known = {
            "LLMBATCH_STATUS": self.status,
            "LLMBATCH_EXIT_CODE": str(self.exit_code),
            "LLMBATCH_PIPELINE": self.pipeline,
            "LLMBATCH_SUMMARY": " ".join(f"{self.pipeline}: {self._words()}".split()),
        }
        return dict.fromkeys(VARIABLES, "") | known | (_of_report(self.report) if self.report is not None else {})

    def _words(self) -> str:
        if self.report is None:
            return f"{self.status.replace('_', ' ')}, exit {self.exit_code}: {self.reason or 'no reason known'}"
        dollars = self.report.cost.total_usd
        return f"{outcome(self.report)} {'Cost unknown' if dollars is None else f'{usd(dollars)} spent'}."


def _of_report(report: RunReport) -> dict[str, str]:
    rows, cost = report.rows, report.cost.total_usd
    files = {
        variable: str(Path(report.files[name]).absolute()) if name in report.files else ""
        for variable, name in (
            ("LLMBATCH_RESULTS", "results"),
            ("LLMBATCH_FAILED_JSONL", "failed"),
            ("LLMBATCH_REPORT", "report"),
            ("LLMBATCH_HTML", "page"),
            ("LLMBATCH_LEDGER", "ledger"),
        )
    }
    return files | {
        "LLMBATCH_RUN_ID": report.run_id,
        "LLMBATCH_ROWS_TOTAL": str(rows.total),
        "LLMBATCH_ROWS_DONE": str(rows.done),
        "LLMBATCH_ROWS_REUSED": str(rows.reused),
        "LLMBATCH_ROWS_FAILED": str(rows.failed),
        "LLMBATCH_ROWS_SKIPPED": str(rows.skipped),
        "LLMBATCH_ROWS_PENDING": str(rows.pending),
        "LLMBATCH_COST_USD": "" if cost is None else f"{cost:.6f}",
        "LLMBATCH_UNPRICED_ATTEMPTS": str(report.cost.unpriced_attempts),
        "LLMBATCH_SECONDS": f"{report.wall_s:.1f}",
    }


@dataclass(frozen=True, slots=True)
class Command:
    """The command, and what it may know."""

    text: str
    timeout_s: float
    hidden: Sequence[str]  #: variables of the environment that it does not get: the provider's keys

    def run(self, ending: Ending, say: Callable[[str], None]) -> str | None:
        """Run it, ``say`` each line that it prints; returns what went wrong, in words."""
        environment = {name: value for name, value in os.environ.items() if name not in self.hidden}
        with ExitStack() as stack:
            try:
                process = subprocess.Popen(  # noqa: S603 - the user's own command
                    [_SHELL, "-c", self.text],
                    stdin=stack.enter_context(_input(ending)),
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    env=environment | _fit(ending.environment()),
                    start_new_session=True,
                )
            except OSError as error:
                return f"cannot be run: {error.strerror}"
            return self._wait(process, say)

    def _wait(self, process: subprocess.Popen[bytes], say: Callable[[str], None]) -> str | None:
        assert process.stdout is not None
        # A thread, because what the command left running in the background may hold the pipe open for ever.
        listener = threading.Thread(target=_listen, args=(process.stdout, say), daemon=True)
        listener.start()
        with _ending_on_signals(process) as taken:
            status = _within(process, self.timeout_s)
        listener.join(_GRACE_S)
        if taken:
            return f"ended by {taken[0].name}"
        if status is None:
            return f"took longer than {self.timeout_s:.0f} s and was ended"
        return f"exit status {status}" if status else None


@contextmanager
def _input(ending: Ending) -> Iterator[BinaryIO]:
    """report.json, or nothing."""
    path = ending.report.files.get("report") if ending.report is not None else None
    with Path(path or os.devnull).open("rb") as file:
        yield file


def _fit(environment: Mapping[str, str]) -> dict[str, str]:
    """Without the one character that no environment can hold."""
    return {name: value.replace("\0", "") for name, value in environment.items()}


def _listen(pipe: BinaryIO, say: Callable[[str], None]) -> None:
    with pipe:
        while line := pipe.readline(_LONGEST_LINE):
            say(line.decode("utf-8", "replace").rstrip("\r\n"))


def _within(process: subprocess.Popen[bytes], timeout_s: float) -> int | None:
    """Its exit status; None when it took too long."""
    try:
        return process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        _kill(process, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(_GRACE_S)
    with suppress(ProcessLookupError):  # the shell may be gone, and what it started may not
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return None


def _kill(process: subprocess.Popen[bytes], number: int) -> None:
    """Send a signal to the command and what it started."""
    if process.poll() is None:
        os.killpg(process.pid, number)


@contextmanager
def _ending_on_signals(process: subprocess.Popen[bytes]) -> Iterator[list[signal.Signals]]:
    """A signal meant for the run ends the command, for the run itself has ended. Those ignored stay so."""
    taken: list[signal.Signals] = []

    def take(number: int, _frame: FrameType | None) -> None:
        taken.append(signal.Signals(number))
        _kill(process, signal.SIGKILL if len(taken) > 1 else signal.SIGTERM)

    before = {number: signal.getsignal(number) for number in _SIGNALS}
    heeded = {number: handler for number, handler in before.items() if handler is not signal.SIG_IGN}
    for number in heeded:
        signal.signal(number, take)
    try:
        yield taken
    finally:
        for number, handler in heeded.items():
            signal.signal(number, handler)
