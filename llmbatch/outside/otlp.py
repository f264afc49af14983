"""The OpenTelemetry SDK, as a run uses it: sent by OTLP over HTTP, bounded in memory and time, and never in the way.

Everything that the standard variables say holds (``OTEL_EXPORTER_OTLP_*``, ``OTEL_RESOURCE_ATTRIBUTES``,
``OTEL_TRACES_SAMPLER``, ``OTEL_BSP_*``, ``OTEL_METRIC_EXPORT_INTERVAL``, ``OTEL_SDK_DISABLED`` ...). The SDK is the
extra ``llmbatch[otel]`` and takes 0.2 s to import, so only functions import it.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from llmbatch.errors import UsageError
from llmbatch.scrub import scrub

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider

FLUSH_S = 5.0  #: what the end of a run waits for the collector, at most
_LOGGERS = ("opentelemetry", "urllib3")
_LONGEST = 200  #: characters of the SDK's words that a note repeats


def refuse_unusable() -> None:
    """Raise UsageError when the extra is missing, or the environment asks for what we do not speak."""
    try:
        import opentelemetry.exporter.otlp.proto.http
        import opentelemetry.sdk.trace  # noqa: F401
    except ImportError:
        raise UsageError("--otel needs the extra llmbatch[otel]", hint="pip install 'llmbatch[otel]'") from None
    for part in ("", "TRACES_", "METRICS_"):
        name = f"OTEL_EXPORTER_OTLP_{part}PROTOCOL"
        if os.environ.get(name, "http/protobuf") not in ("", "http/protobuf"):
            raise UsageError(f"{name}={os.environ[name]}: --otel speaks http/protobuf", hint="its usual port is 4318")
    for signal in ("TRACES", "METRICS"):
        _wanted(signal)


def _wanted(signal: str) -> bool:
    """Whether a signal is to be sent."""
    name = f"OTEL_{signal}_EXPORTER"
    chosen = os.environ.get(name) or "otlp"
    if chosen not in ("otlp", "none"):
        raise UsageError(f"{name}={chosen}: --otel knows otlp and none")
    return chosen == "otlp"


class Exporting:
    """The SDK's two providers, and the one place that hears what they complain of.

    Attributes:
        note: told once, and only once, that telemetry does not arrive.
    """

    def __init__(self, resource: dict[str, str], note: Callable[[str], None]) -> None:
        self.note = note
        self._complaints = _Complaints(self)
        for name in _LOGGERS:
            logger = logging.getLogger(name)
            logger.addHandler(self._complaints)
            logger.propagate = False
        whole = _resource(resource)
        self.traces, self.metrics = _traces(whole), _metrics(whole)

    def flush(self) -> None:
        """Send what is left, for ``FLUSH_S`` at most, and stop."""
        until = time.monotonic() + FLUSH_S
        threads = [
            threading.Thread(target=stop, name="llmbatch-telemetry", daemon=True)
            for stop in (self.traces.shutdown, self.metrics.shutdown)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(max(0.0, until - time.monotonic()))
        if any(thread.is_alive() for thread in threads):
            self._complaints.tell(f"not all of it could be sent within {FLUSH_S:.0f} s")
        for name in _LOGGERS:
            logging.getLogger(name).removeHandler(self._complaints)
            logging.getLogger(name).addHandler(logging.NullHandler())  # what still comes is of no use to anybody


class _Complaints(logging.Handler):
    """Makes one note of all warnings of the SDK."""

    def __init__(self, exporting: Exporting) -> None:
        super().__init__(logging.WARNING)
        self._exporting, self._told = exporting, False

    def emit(self, record: logging.LogRecord) -> None:
        self.tell(record.getMessage())

    def tell(self, words: str) -> None:
        """Note it, if nothing was noted before."""
        if not self._told:
            self._told = True
            line = scrub(" ".join(words.split()))[:_LONGEST]
            self._exporting.note(f"telemetry may be incomplete; the run is not affected: {line}")


def _resource(attributes: dict[str, str]) -> Resource:
    """Who sends: our attributes, overruled by those of the environment."""
    from opentelemetry.sdk.resources import OTELResourceDetector, Resource

    return Resource.create(attributes).merge(OTELResourceDetector().detect())


def _traces(resource: Resource) -> TracerProvider:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    if _wanted("TRACES"):
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider


def _metrics(resource: Resource) -> MeterProvider:
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader

    readers = [PeriodicExportingMetricReader(OTLPMetricExporter())] if _wanted("METRICS") else []
    return MeterProvider(readers, resource=resource, shutdown_on_exit=False)
