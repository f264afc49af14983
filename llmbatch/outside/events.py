"""--log-format json: a run as events in place of its display. Names and fields are in docs/observability.md."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Self

from llmbatch.errors import Exit, LlmbatchError, Stop
from llmbatch.limits.changes import Change
from llmbatch.outside.changes import NewChanges
from llmbatch.outside.facts import Begun
from llmbatch.outside.log import EventLog, Level
from llmbatch.progress import Meter
from llmbatch.progress.ticker import Ticker
from llmbatch.report import to_json

if TYPE_CHECKING:
    from llmbatch.report import RunReport

#: every event and its own fields. A release may add events and fields; it renames and removes none.
EVENTS: dict[str, tuple[str, ...]] = {
    "run_started": (
        "version", "prompt_version", "prompt_label", "provider", "model", "input", "rows_total", "budget_usd",
        "deadline", "resumes",
    ),
    "progress": (
        "rows", "attempts", "tokens", "cost_usd", "unpriced_attempts", "in_flight", "seconds", "rows_per_s", "eta_s",
    ),
    "limit_changed": ("at_s", "what", "value", "reason"),
    "note": ("message",),
    "run_stopping": ("status", "exit_code", "reason"),
    "results_written": ("files",),
    "run_finished": (
        "status", "exit_code", "reason", "hint", "seconds", "rows", "failures", "attempts", "tokens", "cost_usd",
        "unpriced_attempts",
    ),
    "on_finish_output": ("line",),
    "error": ("exit_code", "message", "hint"),
}  # fmt: skip

_TICK_S = 1.0
_CALM = (Exit.BUDGET, Exit.DEADLINE, Exit.SIGHUP, Exit.SIGINT, Exit.SIGTERM)  #: stops that somebody ordered


class Events:
    """A display that writes events: at the start, every ``every_s`` seconds, at changes and notes, at the end."""

    def __init__(
        self,
        log: EventLog,
        start: Begun,
        meter: Meter,
        changes: Callable[[], Sequence[Change]],
        stopping: Callable[[], LlmbatchError | None],
        *,
        every_s: float = 30.0,
    ) -> None:
        self._log, self._start, self._meter, self._every_s = log, start, meter, every_s
        self._changes, self._stopping = NewChanges(changes), stopping
        self._due_s = every_s
        self._noted, self._stop_told = 0, False
        self._ticker = Ticker(min(_TICK_S, every_s), self.tick)

    def __enter__(self) -> Self:
        from llmbatch import __version__

        start, log = self._start, self._log
        log.run_id, log.pipeline = start.run_id, start.pipeline
        log.write(
            "run_started",
            version=__version__,
            prompt_version=start.prompt_version,
            prompt_label=start.prompt_label,
            provider=start.provider,
            model=start.model,
            input=start.input,
            rows_total=start.total,
            budget_usd=start.budget_usd,
            deadline=start.deadline,
            resumes=start.resumes,
        )
        self._ticker.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ticker.__exit__(kind, error, trace)
        self._catch_up()

    def tick(self) -> None:
        """Write what is new; called every second, from a thread of its own."""
        self._catch_up()
        now = self._meter.snapshot()
        if now.seconds < self._due_s:
            return
        self._due_s = now.seconds + self._every_s
        self._log.write(
            "progress",
            rows=now.rows,
            attempts=now.attempts,
            tokens=now.tokens,
            cost_usd=now.cost_usd,
            unpriced_attempts=now.unpriced,
            in_flight=now.in_flight,
            seconds=round(now.seconds, 1),
            rows_per_s=_rounded(now.rows_per_s),
            eta_s=_rounded(now.eta_s),
        )

    def end(self, status: str, exit_code: int) -> None:
        """Say nothing: ``ended`` has the report."""

    def ended(self, report: RunReport, reason: LlmbatchError | None) -> None:
        """Write that the results are in place, if they are, and how the run ended."""
        self._catch_up()
        if "results" in report.files:
            self._log.write("results_written", files=report.files)
        shape = to_json(report)
        self._log.write(
            "run_finished",
            _level(report.exit_code),
            status=report.status,
            exit_code=report.exit_code,
            reason=reason.message if reason else None,
            hint=reason.hint if reason else None,
            seconds=report.wall_s,
            **{name: shape[name] for name in ("rows", "failures", "attempts", "tokens")},
            cost_usd=report.cost.total_usd,
            unpriced_attempts=report.cost.unpriced_attempts,
        )

    def _catch_up(self) -> None:
        """Limits, notes, and the reason to stop, as far as they are new."""
        for change in self._changes.take():
            at, what, value, why = change.at, change.what, change.value, change.reason
            self._log.write("limit_changed", at_s=round(at, 3), what=what, value=value, reason=why)
        notes = self._meter.snapshot().notes
        new, self._noted = notes[self._noted :], len(notes)
        for note in new:
            self._log.write("note", "warning", message=note)
        reason = self._stopping()
        if reason is not None and not self._stop_told:
            self._stop_told = True
            status = reason.status if isinstance(reason, Stop) else "storage_failed"
            code = int(reason.exit_code)
            self._log.write("run_stopping", _level(code), status=status, exit_code=code, reason=reason.message)


def _level(exit_code: int) -> Level:
    if exit_code == Exit.OK:
        return "info"
    return "warning" if exit_code in _CALM else "error"


def _rounded(number: float | None) -> float | None:
    return None if number is None else round(number, 1)
