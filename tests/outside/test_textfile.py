import stat
import threading
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from llmbatch.errors import UsageError
from llmbatch.outside import textfile
from llmbatch.outside.textfile import METRICS, MetricsFile, Sample, exposition
from llmbatch.simulator import Scenario
from llmbatch.types import Status
from tests.cli.conftest import Serve, Shell, serve, shell, tickets
from tests.outside.conftest import begun
from tests.pages import ROOT, table
from tests.progress.runs import Run

__all__ = ["serve", "shell"]
Series = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def read(path: Path) -> Series:
    """What Prometheus' own parser reads; every metric has its type and help."""
    found: Series = {}
    for family in text_string_to_metric_families(path.read_text()):
        name = f"{family.name}_total" if family.type == "counter" else family.name
        assert METRICS[name] == (family.type, family.documentation)
        for sample in family.samples:
            labels = {key: text for key, text in sample.labels.items() if key != "pipeline"}
            key = (sample.name.removeprefix("llmbatch_"), tuple(labels.items()))
            assert key not in found
            found[key] = sample.value
    return found


def test_the_page_names_every_metric() -> None:
    rows = table(ROOT / "docs/observability.md", "Prometheus")
    assert {name.strip("`"): (kind, words) for name, kind, _, words in rows} == METRICS


def test_names_follow_the_conventions() -> None:
    for name, (kind, _) in METRICS.items():
        assert (kind == "counter") == name.endswith("_total"), name


def watched(path: Path, run: Run, code: int) -> None:
    file = MetricsFile(path, "tag", pytest.fail)
    with file.watching(begun(), run.meter, pytest.fail):
        assert read(path)["run_active", ()] == 1
        run.after(5, 7)
        run.after(0, 1, Status.FAILED)
        run.paid("0.25", attempts=8)
    file.ended(None, code)


def test_counters_go_on_from_the_file(tmp_path: Path) -> None:
    path = tmp_path / "tag.prom"
    watched(path, Run(10), 0)
    watched(path, Run(10), 4)
    found = read(path)
    assert found["rows", (("outcome", "done"),)] == 7
    assert found["rows", (("outcome", "pending"),)] == 2
    assert found["cost_usd_total", ()] == 0.5
    assert found["run_cost_usd", ()] == 0.25
    assert found["attempts_total", (("outcome", "answered"),)] == 16
    assert found["runs_total", (("exit_status", "0"),)] == 1
    assert found["runs_total", (("exit_status", "4"),)] == 1
    assert found["run_exit_status", ()] == 4
    assert found["run_started_timestamp_seconds", ()] == 1_795_000_000.25
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert [entry.name for entry in tmp_path.iterdir()] == ["tag.prom"]


def test_every_fifteen_seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(textfile, "_EVERY_S", 0.001)
    path, run, seen = tmp_path / "tag.prom", Run(10), threading.Event()
    file = MetricsFile(path, "tag", pytest.fail)
    with file.watching(begun(), run.meter, pytest.fail):
        run.after(5, 7)
        while read(path)["rows", (("outcome", "done"),)] != 7:
            seen.wait(0.001)


@pytest.mark.parametrize("text", ['a "b"', "a\\nb", "line\nline", "\\", "{}", "é", "\udcff"])
def test_labels_are_escaped(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.prom"
    path.write_bytes(exposition([Sample("llmbatch_runs_total", (("pipeline", text),), 1)], {}))
    (family,) = text_string_to_metric_families(path.read_text())
    assert family.samples[0].labels == {"pipeline": text.encode("utf-8", "replace").decode()}
    again = exposition([Sample("llmbatch_runs_total", (("pipeline", text),), 1)], textfile._carried(path))
    assert again.splitlines()[-1].endswith(b" 2")


@pytest.mark.parametrize("old", [b"", b"\xff\xfe", b"llmbatch_runs_total{ 3\nllmbatch_cost_usd_total{} x\n"])
def test_a_file_that_is_none_of_ours_is_replaced(tmp_path: Path, old: bytes) -> None:
    path = tmp_path / "tag.prom"
    path.write_bytes(old)
    MetricsFile(path, "tag", pytest.fail).ended(None, 2)
    assert read(path)["run_exit_status", ()] == 2


def test_what_cannot_be_written_is_refused_or_noted(tmp_path: Path) -> None:
    for path in (tmp_path / "absent" / "x.prom", tmp_path):
        with pytest.raises(UsageError):
            MetricsFile(path, "tag", pytest.fail)
    notes: list[str] = []
    file = MetricsFile(tmp_path / "x.prom", "tag", notes.append)
    (tmp_path / "x.prom").mkdir()
    file.ended(None, 0)
    assert len(notes) == 1
    assert "--metrics-file" in notes[0]


@pytest.mark.slow
def test_a_night_and_one_that_never_began(shell: Shell, serve: Serve) -> None:
    shell.write("in.jsonl", tickets(20))
    args = ("run", "label", "-i", "in.jsonl", "--metrics-file", "tag.prom", "--base-url", serve(Scenario()).base_url)
    shell.call(*args)
    found = read(shell.folder / "tag.prom")
    assert found["rows", (("outcome", "done"),)] == 20
    assert found["run_success_timestamp_seconds", ()] == found["run_finished_timestamp_seconds", ()]
    shell.call(*args, "--set", "input.id=absent", expect=2)
    after = read(shell.folder / "tag.prom")
    assert after["run_exit_status", ()] == 2
    assert after["run_success_timestamp_seconds", ()] == found["run_success_timestamp_seconds", ()]
    assert after["attempts_total", (("outcome", "answered"),)] == 20
