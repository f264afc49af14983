import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import orjson
import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from llmbatch.errors import UsageError
from llmbatch.limits.changes import Change
from llmbatch.outside import genai, otlp
from llmbatch.outside.telemetry import METRICS, Telemetry
from llmbatch.simulator import Latency, Scenario
from llmbatch.types import Attempt, Reply, Status, Usage
from tests.cli.conftest import Serve, Shell, serve, shell, tickets
from tests.outside.collector import Collector, attributes, collecting
from tests.outside.conftest import begun
from tests.pages import ROOT, table
from tests.progress.runs import Run

__all__ = ["serve", "shell"]
PAGE = ROOT / "docs/observability.md"
ERROR = 2
TEXT = "Frau Brandtner moved to Quittengasse 7"
REPLY = Reply(TEXT, TEXT, "stop", TEXT, Usage(100, 20, 60, 5, 7), "m-1-2026", "default", "fp_1")


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    with collecting() as server:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", server.url)
        yield server


def attempt(row_no: int, failure: str | None = None) -> Attempt:
    reply = REPLY if failure is None else None
    return Attempt(
        "k" * 64, row_no, 1, 1_795_000_001.0, 0.5, failure or "answered", 200 if reply else None, TEXT, failure, reply,
        Decimal("0.25") if reply else None, possibly_paid=failure == "timeout",
    )  # fmt: skip


def told(run: Run, notes: list[str], *attempts: Attempt, code: int = 0, **facts: Any) -> Telemetry:
    """A run's telemetry from its beginning to its end."""
    changes = [Change(1.0, "pause", 60.0, "429"), Change(2.0, "concurrency", 8, "429")]
    telemetry = Telemetry(begun(**facts), run.meter, lambda: changes, notes.append)
    for one in attempts:
        telemetry.attempted(one)
    telemetry.ended(None, "finished" if code == 0 else "budget_reached", code)
    return telemetry


def test_a_span_for_each_attempt_below_that_of_the_run(collector: Collector) -> None:
    notes: list[str] = []
    params = {"max_completion_tokens": 200, "temperature": 0, "service_tier": "flex"}
    address = "http://gpu.example:8000/v1"
    told(Run(3), notes, attempt(0), attempt(1, "timeout"), code=4, params=params, address=address)
    answered, late, root = sorted(collector.spans, key=lambda span: span.name + str(span.status.code))
    assert notes == []
    assert (root.name, root.status.code) == ("run tag", ERROR)
    assert attributes(root.attributes)["llmbatch.exit_code"] == 4
    assert {span.parent_span_id for span in (answered, late)} == {root.span_id}
    assert {span.trace_id for span in (answered, late)} == {root.trace_id}
    assert (answered.name, answered.kind) == ("chat m-1", Span.SpanKind.SPAN_KIND_CLIENT)
    assert (answered.start_time_unix_nano, answered.end_time_unix_nano) == (1795000001000000000, 1795000001500000000)
    assert attributes(answered.attributes) == {
        "gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai", "gen_ai.request.model": "m-1",
        "server.address": "gpu.example", "server.port": 8000, "gen_ai.output.type": "json",
        "gen_ai.request.max_tokens": 200, "gen_ai.request.temperature": 0, "openai.request.service_tier": "flex",
        "gen_ai.response.model": "m-1-2026", "gen_ai.response.finish_reasons": ["stop"],
        "openai.response.service_tier": "default", "openai.response.system_fingerprint": "fp_1",
        "gen_ai.usage.input_tokens": 100, "gen_ai.usage.output_tokens": 20,
        "gen_ai.usage.cache_read.input_tokens": 60, "gen_ai.usage.cache_creation.input_tokens": 5,
        "gen_ai.usage.reasoning.output_tokens": 7, "http.response.status_code": 200, "llmbatch.row_no": 0,
        "llmbatch.key": "k" * 64, "llmbatch.attempt": 1, "llmbatch.cost_usd": 0.25,
    }  # fmt: skip
    failed = attributes(late.attributes)
    assert (late.status.code, failed["error.type"], failed["llmbatch.possibly_paid"]) == (ERROR, "timeout", True)
    assert not [body for body in collector.bodies if b"Brandtner" in body]


def test_the_page_names_every_attribute_and_metric(collector: Collector) -> None:
    told(Run(3), [], attempt(0), attempt(1, "timeout"), params={"temperature": 0, "service_tier": "flex", "seed": 1})
    documented = {name for cell, *_ in table(PAGE, "OpenTelemetry") for name in re.findall(r"`([\w.]+)`", cell)}
    sent = {name for span in collector.spans for name in attributes(span.attributes)}
    assert sent <= documented
    rows = re.findall(r"^\| `([\w.]+\.\w+)` \| (\w+) \| `(\S+)` \|", PAGE.read_text(), re.MULTILINE)
    assert rows == [(name, kind, unit) for name, (kind, unit, _) in METRICS.items()]
    assert collector.metrics.keys() == METRICS.keys()


def test_metrics(collector: Collector) -> None:
    run = Run(3)
    run.after(5, 1)
    run.after(0, 1, Status.FAILED)
    run.paid("0.25")
    told(run, [], attempt(0), attempt(1, "timeout"))
    for name, (_, unit, words) in METRICS.items():
        assert (collector.metrics[name].unit, collector.metrics[name].description) == (unit, words)
    durations = collector.points("gen_ai.client.operation.duration")
    assert sorted(point.sum for _, point in durations) == [0.5, 0.5]
    assert {labels.get("error.type") for labels, _ in durations} == {None, "timeout"}
    assert list(durations[0][1].explicit_bounds) == genai.DURATION_BUCKETS
    tokens = {labels["gen_ai.token.type"]: point for labels, point in collector.points("gen_ai.client.token.usage")}
    assert {kind: point.sum for kind, point in tokens.items()} == {"input": 100, "output": 20}
    assert list(tokens["input"].explicit_bounds)[:3] == [1, 4, 16]
    rows = {labels["llmbatch.outcome"]: count for labels, count in collector.points("llmbatch.rows")}
    assert rows == {"done": 1, "reused": 0, "failed": 1, "skipped": 0, "pending": 1}
    assert [collector.points(f"llmbatch.{name}") for name in ("cost", "in_flight", "pauses")] == [
        [({}, 0.25)], [({}, 16)], [({}, 1)],
    ]  # fmt: skip
    assert collector.resources[0]["service.name"] == "llmbatch"


def test_the_standard_variables_hold(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "service.name=nightly,team=data")
    told(Run(3), [], attempt(0))
    assert collector.spans == []
    assert collector.metrics
    assert {(one["service.name"], one["team"]) for one in collector.resources} == {("nightly", "data")}
    collector.metrics.clear()
    monkeypatch.setenv("OTEL_METRICS_EXPORTER", "none")
    told(Run(3), [], attempt(0))
    assert collector.metrics == {}


@pytest.mark.parametrize("trouble", ["gone", "hangs", "refuses"])
def test_a_collector_in_trouble_is_one_note(
    collector: Collector, trouble: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(otlp, "FLUSH_S", 0.3)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    if trouble == "gone":
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    elif trouble == "hangs":
        collector.hangs.clear()
    else:
        collector.status = 403
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "64")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "32")
    notes: list[str] = []
    started = time.monotonic()
    told(Run(3), notes, *(attempt(n) for n in range(200)))  # more than the queue holds
    assert time.monotonic() - started < 30
    assert len(notes) == 1
    assert "the run is not affected" in notes[0]
    assert capfd.readouterr() == ("", "")
    collector.hangs.set()
    for thread in threading.enumerate():  # what the run did not wait for must not reach into other tests
        if thread.name.startswith("Otel"):
            thread.join(30)


def test_what_cannot_work_is_said_before_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    otlp.refuse_unusable()
    for name, value in (("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"), ("OTEL_TRACES_EXPORTER", "console")):
        with monkeypatch.context() as patch:
            patch.setenv(name, value)
            with pytest.raises(UsageError, match=name):
                otlp.refuse_unusable()
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(UsageError, match=re.escape("llmbatch[otel]")) as missing:
        otlp.refuse_unusable()
    assert missing.value.hint == "pip install 'llmbatch[otel]'"


def test_nothing_of_it_is_loaded_unless_asked_for() -> None:
    code = "import sys, llmbatch.cli.night; sys.exit(any(name.startswith('opentelemetry') for name in sys.modules))"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_run_stopped_by_a_signal_still_tells(shell: Shell, serve: Serve, collector: Collector) -> None:
    shell.write("in.jsonl", [{**row, "text": TEXT} if n == 0 else row for n, row in enumerate(tickets(400))])
    shell.env |= {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url}
    url = serve(Scenario(latency=Latency(median_ms=200))).base_url
    process = shell.start("run", "label", "-i", "in.jsonl", "--base-url", url, "--otel", "--quiet")
    status = shell.folder / ".llmbatch/label.status.json"
    while not status.exists() or orjson.loads(status.read_bytes())["rows"]["done"] < 20:
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 143, err
    report = orjson.loads((shell.folder / "results/label/report.json").read_bytes())
    (root,) = [span for span in collector.spans if span.name == "run label"]
    assert attributes(root.attributes)["llmbatch.rows.done"] == report["rows"]["done"]
    assert len(collector.spans) == report["attempts"]["sent"] + 1
    assert (
        sum(point.count for _, point in collector.points("gen_ai.client.operation.duration"))
        == len(collector.spans) - 1
    )
    assert not [body for body in collector.bodies if b"Brandtner" in body]
