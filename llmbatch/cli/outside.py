"""What other programs are told of a run: events, a metrics file, and a command when it has ended, however it ended."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Self

from llmbatch import providers
from llmbatch.cli.gate import event_log, note, repeat
from llmbatch.cli.order import Order, seconds
from llmbatch.errors import Exit, Interrupted, LlmbatchError, StorageError
from llmbatch.outside.command import Command, Ending
from llmbatch.outside.events import Events
from llmbatch.outside.facts import Begun
from llmbatch.outside.otlp import refuse_unusable
from llmbatch.outside.textfile import MetricsFile
from llmbatch.progress import Display, Gauges, Meter, choose
from llmbatch.scrub import scrub

if TYPE_CHECKING:
    from llmbatch.cli.night import Night
    from llmbatch.cli.wiring import Wired
    from llmbatch.ledger import Run
    from llmbatch.outside.telemetry import Telemetry
    from llmbatch.report import RunReport
    from llmbatch.tally import Tally

_KEYS = ("OPENAI_API_KEY", "AZURE_OPENAI_API_KEY")  #: of the provider; the command gets none of them


class Outside:
    """Entered around everything of a run that comes after its command line was understood.

    Raises UsageError when made, for flags that cannot be followed.
    """

    def __init__(self, order: Order) -> None:
        self._order = order
        self._keys = set(_KEYS)
        self._ended: RunReport | None = None
        self._events: Events | None = None
        self._metrics = MetricsFile(order.metrics_file, order.name, note) if order.metrics_file is not None else None
        self._telemetry: Telemetry | None = None
        if order.otel:
            refuse_unusable()
        self._timeout_s = seconds(order.on_finish_timeout, "--on-finish-timeout")
        if (log := event_log()) is not None:
            log.pipeline = order.name

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Tell how it ended those who were not told by ``ended``, and call the command."""
        if (report := self._ended) is not None:
            ending = Ending(self._order.name, report.exit_code, report.status, report, None)
        elif error is not None:
            code = error.exit_code if isinstance(error, LlmbatchError) else Exit.BUG
            ending = Ending(self._order.name, code, _status(error), None, _reason(error))
            # a run that found another one at work leaves that one's numbers alone
            if self._metrics is not None and code != Exit.LOCKED:
                self._metrics.ended(None, code)
            if self._telemetry is not None:
                self._telemetry.ended(None, ending.status, code)
        else:
            return
        if self._order.on_finish is not None:
            fault = Command(self._order.on_finish, self._timeout_s, sorted(self._keys)).run(ending, repeat)
            if fault is not None:
                note(f"--on-finish: {fault}")

    def knows(self, key_variable: str) -> None:
        """The variable that holds the provider's key; the command does not get it."""
        self._keys.add(key_variable)

    def display(self, night: Night, run: Run, wired: Wired, gauges: Gauges) -> Display:
        """What shows the run."""
        if (log := event_log()) is None:
            return choose(sys.stderr, night.tally, gauges, night.pipeline.name, quiet=self._order.quiet)
        meter = Meter(night.tally, gauges)
        self._events = Events(log, _begun(night, run), meter, wired.changes, lambda: wired.halt.reason)
        return self._events

    @contextmanager
    def watching(self, night: Night, run: Run, wired: Wired, gauges: Gauges) -> Iterator[None]:
        """Within: the run goes on."""
        with ExitStack() as stack:
            if self._metrics is not None:
                meter = Meter(night.tally, gauges)
                stack.enter_context(self._metrics.watching(_begun(night, run), meter, night.tally.noted))
            if self._order.otel:
                stack.enter_context(self._telling(_begun(night, run), night.tally, wired, gauges))
            yield

    @contextmanager
    def _telling(self, begun: Begun, tally: Tally, wired: Wired, gauges: Gauges) -> Iterator[None]:
        """Within: telemetry hears of attempts."""
        from llmbatch.outside.telemetry import Telemetry

        meter = Meter(tally, gauges)
        try:
            self._telemetry = telemetry = Telemetry(begun, meter, wired.changes, tally.noted)
        except Exception as error:  # noqa: BLE001 - what a variable of the SDK can raise is not ours to know
            tally.noted(f"no telemetry, for the SDK does not start: {type(error).__name__}: {scrub(str(error))}")
            yield
            return
        wired.heard.append(telemetry.attempted)
        yield
        telemetry.exporting.note = note

    def ended(self, report: RunReport, reason: LlmbatchError | None) -> None:
        """Results and reports are in place."""
        self._ended = report
        if self._events is not None:
            self._events.ended(report, reason)
        if self._metrics is not None:
            self._metrics.ended(report, report.exit_code)
        if self._telemetry is not None:
            self._telemetry.ended(report, report.status, report.exit_code)


def _begun(night: Night, run: Run) -> Begun:
    settings = night.pipeline.settings
    return Begun(
        run_id=run.run_id,
        pipeline=night.pipeline.name,
        prompt_version=night.pipeline.version,
        prompt_label=settings.label,
        provider=settings.provider.kind,
        address=providers.address(settings),
        model=settings.request.asked,
        params=dict(settings.request.params),
        input=night.order.shown_inputs,
        total=night.total,
        budget_usd=settings.limits.budget_usd,
        deadline=night.order.deadline,
        resumes=len(run.resumes),
        started_at=run.started_at,
    )


def _status(error: BaseException) -> str:
    """The word for a run that ended without a report."""
    if isinstance(error, StorageError):
        return "storage_failed"
    if isinstance(error, Interrupted):
        return error.status
    return "not_started" if isinstance(error, LlmbatchError) else "fault"


def _reason(error: BaseException) -> str:
    """In one line; the words of a fault of llmbatch itself may hold row text."""
    return scrub(error.message) if isinstance(error, LlmbatchError) else type(error).__name__
