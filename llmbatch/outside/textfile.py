"""--metrics-file: a run as a Prometheus text file, for node_exporter's textfile collector.

The form is the Prometheus text exposition format 0.0.4. Gauges speak of the run that wrote the file last. Counters
(``_total``) and the time of the last success go on from what the file holds, so that ``increase()`` over a week of
nights is right; where the file is gone they begin at 0, which Prometheus takes for a rebegun.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from llmbatch.atomic import foreign_link, write_bytes
from llmbatch.errors import Exit, StorageError, UsageError
from llmbatch.outside.facts import Begun
from llmbatch.progress import Meter, Snapshot
from llmbatch.progress.ticker import Ticker

if TYPE_CHECKING:
    from llmbatch.report import RunReport

#: name: (type, help). A release may add metrics; it renames and removes none.
METRICS = {
    "llmbatch_run_info": ("gauge", "The last run, by its labels; always 1."),
    "llmbatch_run_active": ("gauge", "Whether the run goes on: 1, and 0 when it has ended."),
    "llmbatch_run_started_timestamp_seconds": ("gauge", "When the last run began."),
    "llmbatch_run_finished_timestamp_seconds": ("gauge", "When the last run ended; absent while it goes on."),
    "llmbatch_run_success_timestamp_seconds": ("gauge", "When a run last ended with exit status 0."),
    "llmbatch_run_duration_seconds": ("gauge", "How long the last run took, or has taken so far."),
    "llmbatch_run_exit_status": ("gauge", "The exit status of the last run; absent while it goes on."),
    "llmbatch_run_cost_usd": ("gauge", "Dollars of the last run's attempts, as far as they are priced."),
    "llmbatch_run_in_flight": ("gauge", "Calls in flight."),
    "llmbatch_rows": ("gauge", "Rows of the last run by outcome."),
    "llmbatch_runs_total": ("counter", "Runs that ended, by exit status."),
    "llmbatch_attempts_total": ("counter", "Calls by what became of them."),
    "llmbatch_tokens_total": ("counter", "Tokens as the provider counted them."),
    "llmbatch_cost_usd_total": ("counter", "Dollars of all attempts, as far as they are priced."),
    "llmbatch_unpriced_attempts_total": ("counter", "Answered calls without a known price."),
}

_EVERY_S = 15.0
_MODE = 0o644  #: the collector is another user's process; there is no row text in the file
_LINE = re.compile(r"(?P<series>(?P<name>[a-z_]+)\{[^\n]*\}) (?P<value>[-+.\de]+)")
_CARRIED = ("_total", "_success_timestamp_seconds")
_OUTCOMES = ("answered", "rate_limited", "timeout", "transient", "rejected", "refused")


@dataclass(frozen=True, slots=True)
class Sample:
    """One line of the file."""

    name: str
    labels: tuple[tuple[str, str], ...]
    value: float

    @property
    def series(self) -> str:
        """Name and labels, as they are written."""
        labels = ",".join(f'{key}="{_quoted(text)}"' for key, text in self.labels)
        return f"{self.name}{{{labels}}}"


class MetricsFile:
    """Replaces the file at the start, every 15 s during the run, and at its end; notes it when it cannot.

    Raises UsageError when made, if its folder is missing, so that a mistake is known before anything is sent.
    """

    def __init__(self, path: Path, pipeline: str, note: Callable[[str], None]) -> None:
        if not path.parent.is_dir():
            raise UsageError(f"--metrics-file: there is no folder {path.parent}", hint="make it, or name another")
        if path.exists() and not path.is_file():
            raise UsageError(f"--metrics-file: {path} is there and is no regular file", hint="name another")
        if (link := foreign_link(path)) is not None:
            raise UsageError(f"--metrics-file: {link} is a link that belongs to another user", hint="name another")
        self._path, self._note = path, note
        self._pipeline = pipeline
        self._before = _carried(path)
        self._run: tuple[Begun, Meter] | None = None  # once there is one

    @contextmanager
    def watching(self, begun: Begun, meter: Meter, note: Callable[[str], None]) -> Iterator[None]:
        """Within: the file tells of this run; ``note`` hears when it cannot."""
        self._run, before, self._note = (begun, meter), self._note, note
        self._tick()
        with Ticker(_EVERY_S, self._tick):
            yield
        self._note = before

    def ended(self, report: RunReport | None, exit_code: int) -> None:
        """Say how the run ended; without a report when it ended before its results, or before it began."""
        samples = [*self._samples(), *self._ending(report, exit_code)]
        self._write(samples)

    def _tick(self) -> None:
        self._write([*self._samples(), self._sample("llmbatch_run_active", 1)])

    def _write(self, samples: list[Sample]) -> None:
        try:
            write_bytes(self._path, exposition(samples, self._before), mode=_MODE)
        except StorageError as error:
            self._note(f"--metrics-file: {error.message}")

    def _sample(self, name: str, value: float, **labels: str) -> Sample:
        return Sample(name, (("pipeline", self._pipeline), *labels.items()), value)

    def _samples(self) -> Iterator[Sample]:
        if self._run is None:
            return
        begun, meter = self._run
        now, sample = meter.snapshot(), self._sample
        run = {"run_id": begun.run_id, "model": begun.model, "prompt_version": begun.prompt_version}
        yield sample("llmbatch_run_info", 1, **run)
        yield sample("llmbatch_run_started_timestamp_seconds", round(begun.started_at, 3))
        yield sample("llmbatch_run_duration_seconds", round(time.time() - begun.started_at, 3))
        yield sample("llmbatch_run_in_flight", now.in_flight)
        yield from self._counts(now)

    def _counts(self, now: Snapshot) -> Iterator[Sample]:
        sample = self._sample
        for outcome in ("done", "reused", "failed", "skipped", "pending"):
            yield sample("llmbatch_rows", now.rows[outcome], outcome=outcome)
        for outcome in _OUTCOMES:
            yield sample("llmbatch_attempts_total", now.attempts.get(outcome, 0), outcome=outcome)
        for kind, count in now.tokens.items():
            yield sample("llmbatch_tokens_total", count, type=kind)
        dollars = float(now.cost_usd or 0)
        yield sample("llmbatch_cost_usd_total", dollars)
        yield sample("llmbatch_unpriced_attempts_total", now.unpriced)
        if now.cost_usd is not None:
            yield sample("llmbatch_run_cost_usd", dollars)

    def _ending(self, report: RunReport | None, exit_code: int) -> Iterator[Sample]:
        sample, now = self._sample, round(time.time(), 3)
        yield sample("llmbatch_run_active", 0)
        yield sample("llmbatch_run_finished_timestamp_seconds", now)
        yield sample("llmbatch_run_exit_status", exit_code)
        yield sample("llmbatch_runs_total", 1, exit_status=str(exit_code))
        if report is not None and exit_code == Exit.OK:
            yield sample("llmbatch_run_success_timestamp_seconds", now)


def exposition(samples: list[Sample], before: Mapping[str, float]) -> bytes:
    """The file: samples by metric, each metric once, with HELP and TYPE; counters added to what was ``before``."""
    series = {sample.series: (sample.name, sample.value) for sample in samples}
    for key, value in before.items():
        name, found = series.get(key, (key.partition("{")[0], 0.0))
        if name.endswith("_total"):
            series[key] = name, found + value
        else:
            series.setdefault(key, (name, value))
    lines = []
    for name, (kind, words) in METRICS.items():
        of_name = [f"{key} {_number(value)}" for key, (metric, value) in series.items() if metric == name]
        if of_name:
            lines += [f"# HELP {name} {words}", f"# TYPE {name} {kind}", *of_name]
    return ("\n".join(lines) + "\n").encode()


def _carried(path: Path) -> dict[str, float]:
    """The series of an older file that go on. A file that is none of ours has none."""
    try:
        text = path.read_text(encoding="utf-8")
        found = [match for line in text.splitlines() if (match := _LINE.fullmatch(line))]
        return {m["series"]: float(m["value"]) for m in found if m["name"] in METRICS and m["name"].endswith(_CARRIED)}
    except (OSError, ValueError):
        return {}


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(float(value))


def _quoted(text: str) -> str:
    """A label's value, escaped as the format asks, and without what a file may not hold."""
    text = text.encode("utf-8", "replace").decode()
    return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
