"""--otel: a run as an OpenTelemetry trace (a span a run, a span an attempt below it) and as metrics."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from llmbatch import __version__
from llmbatch.limits.changes import Change
from llmbatch.outside import genai
from llmbatch.outside.changes import NewChanges
from llmbatch.outside.facts import Begun
from llmbatch.outside.otlp import Exporting
from llmbatch.progress import Meter
from llmbatch.types import Attempt

if TYPE_CHECKING:
    from opentelemetry.metrics import CallbackOptions, Observation

    from llmbatch.report import RunReport

#: name: (instrument, unit, help). Those of gen_ai.* are the conventions'.
METRICS = {
    "gen_ai.client.operation.duration": ("histogram", "s", "How long calls took, failed ones too."),
    "gen_ai.client.token.usage": ("histogram", "{token}", "Input and output tokens of each answered call."),
    "llmbatch.rows": ("updowncounter", "{row}", "Rows by outcome; those still to come are pending."),
    "llmbatch.replies": ("counter", "{reply}", "Replies of this run by verdict: valid or invalid."),
    "llmbatch.cost": ("counter", "USD", "Dollars of this run's attempts, as far as they are priced."),
    "llmbatch.in_flight": ("updowncounter", "{call}", "Calls in flight."),
    "llmbatch.pauses": ("counter", "{pause}", "Pauses of all sending, asked for by the provider or by its silence."),
}


class Telemetry:
    """Hears of every attempt. Raises nothing once it is made; what it costs is in docs/observability.md."""

    def __init__(
        self, begun: Begun, meter: Meter, changes: Callable[[], Sequence[Change]], note: Callable[[str], None]
    ) -> None:
        from opentelemetry import trace

        resource = {
            "service.name": "llmbatch",
            "service.version": __version__,
            "service.instance.id": begun.run_id,
            "llmbatch.pipeline": begun.pipeline,
        }
        self._begun, self._meter, self._changes, self._pauses = begun, meter, NewChanges(changes), 0
        self._common, self._asked = genai.common(begun), genai.asked(begun)
        self.exporting = Exporting(resource, note)
        self._tracer = self.exporting.traces.get_tracer("llmbatch", __version__)
        self._root = self._tracer.start_span(
            f"run {begun.pipeline}",
            attributes={
                "llmbatch.pipeline": begun.pipeline,
                "llmbatch.run_id": begun.run_id,
                "llmbatch.prompt_version": begun.prompt_version,
                "gen_ai.request.model": begun.model,
            },
            start_time=_ns(begun.started_at),
        )
        self._context = trace.set_span_in_context(self._root)
        self._kind = trace.SpanKind.INTERNAL if begun.provider == "offline" else trace.SpanKind.CLIENT
        self._instruments()

    def attempted(self, attempt: Attempt) -> None:
        """A call has ended: its span, and its share in the histograms."""
        ended = genai.ended(attempt)
        self._span(attempt, ended)
        labels = self._common | ended
        self._durations.record(attempt.latency_s, labels)
        if attempt.reply is not None and (usage := attempt.reply.usage) is not None:
            self._tokens.record(usage.input, labels | {"gen_ai.token.type": "input"})
            self._tokens.record(usage.output, labels | {"gen_ai.token.type": "output"})

    def ended(self, report: RunReport | None, status: str, exit_code: int) -> None:
        """The run has ended: its span, and whatever is not sent yet, within a bounded time."""
        from opentelemetry.trace import StatusCode

        facts: genai.Attributes = {"llmbatch.status": status, "llmbatch.exit_code": exit_code}
        if report is not None:
            facts |= {f"llmbatch.rows.{name}": count for name, count in self._meter.snapshot().rows.items()}
            if report.cost.total_usd is not None:
                facts["llmbatch.cost_usd"] = float(report.cost.total_usd)
        if exit_code:
            facts["error.type"] = status
            self._root.set_status(StatusCode.ERROR)
        self._root.set_attributes(facts)
        self._root.end()
        self.exporting.flush()

    def _span(self, attempt: Attempt, ended: genai.Attributes) -> None:
        from opentelemetry.trace import StatusCode

        started = _ns(attempt.asked_at)
        name = f"chat {attempt.model or self._begun.model}"
        span = self._tracer.start_span(name, self._context, self._kind, self._common | self._asked, start_time=started)
        if span.is_recording():  # else it was not sampled
            span.set_attributes(ended | genai.answer(attempt))
            if attempt.failure is not None:
                span.set_status(StatusCode.ERROR)
        span.end(started + _ns(attempt.latency_s))

    def _instruments(self) -> None:
        """Two histograms that hear of each attempt; the others read the run's sums when they are collected."""
        meter = self.exporting.metrics.get_meter("llmbatch", __version__)
        boundaries = {
            "gen_ai.client.operation.duration": genai.DURATION_BUCKETS,
            "gen_ai.client.token.usage": genai.TOKEN_BUCKETS,
        }
        self._durations, self._tokens = (
            meter.create_histogram(name, *METRICS[name][1:], explicit_bucket_boundaries_advisory=buckets)
            for name, buckets in boundaries.items()
        )
        for name, read in (("rows", self._rows), ("in_flight", self._in_flight)):
            _, unit, words = METRICS[f"llmbatch.{name}"]
            meter.create_observable_up_down_counter(f"llmbatch.{name}", [read], unit, words)
        for name, read in (("replies", self._replies), ("cost", self._cost), ("pauses", self._paused)):
            _, unit, words = METRICS[f"llmbatch.{name}"]
            meter.create_observable_counter(f"llmbatch.{name}", [read], unit, words)

    def _rows(self, _options: CallbackOptions) -> Iterable[Observation]:
        rows = self._meter.snapshot().rows
        return [_seen(count, {"llmbatch.outcome": name}) for name, count in rows.items() if name != "total"]

    def _replies(self, _options: CallbackOptions) -> Iterable[Observation]:
        attempts = self._meter.snapshot().attempts
        return [_seen(attempts[name], {"llmbatch.verdict": name}) for name in ("valid", "invalid")]

    def _cost(self, _options: CallbackOptions) -> Iterable[Observation]:
        dollars = self._meter.snapshot().cost_usd
        return [] if dollars is None else [_seen(float(dollars), {})]

    def _in_flight(self, _options: CallbackOptions) -> Iterable[Observation]:
        return [_seen(self._meter.snapshot().in_flight, {})]

    def _paused(self, _options: CallbackOptions) -> Iterable[Observation]:
        self._pauses += sum(change.what == "pause" for change in self._changes.take())
        return [_seen(self._pauses, {})]


def _seen(value: float, attributes: dict[str, str]) -> Observation:
    from opentelemetry.metrics import Observation

    return Observation(value, attributes)


def _ns(seconds: float) -> int:
    return int(seconds * 1e9)
