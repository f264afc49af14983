import json
import os
import socket
import subprocess
import threading
import time
from decimal import Decimal
from pathlib import Path

import pytest

from llmbatch.errors import StorageError
from llmbatch.limits import LimitState
from llmbatch.progress import Gauges, Meter, StatusFile, read_status
from llmbatch.progress.snapshot import from_json, to_json
from llmbatch.types import Status
from tests.progress.runs import Run


def open_status(path: Path, run: Run) -> StatusFile:
    return StatusFile(path, run.tally, Gauges(lambda: 7), "run-1", "tag")


def test_a_run_can_be_watched_from_its_first_moment_on(tmp_path: Path) -> None:
    path, run = tmp_path / ".llmbatch" / "tag.status.json", Run(10)
    run.paid("0.5", attempts=2)
    run.after(0, 4)
    with open_status(path, run):
        facts = read_status(path)
    assert facts is not None
    assert 0 <= facts.pop("age_s") < 5
    assert facts.pop("started_at") <= facts.pop("updated_at")
    assert facts == {
        "run_id": "run-1", "pid": os.getpid(), "host": socket.gethostname(), "pipeline": "tag", "state": "running",
        "rows": {"total": 10, "done": 4, "reused": 0, "failed": 0, "skipped": 0, "pending": 6},
        "attempts": {"sent": 2, "valid": 0, "invalid": 0, "answered": 2},
        "tokens": {"input": 1_200_000, "cached": 5, "output": 80_000, "reasoning": 7},
        "cost_usd": 0.5, "unpriced_attempts": 0, "in_flight": 7, "rows_per_s": None, "eta_s": None, "alive": True,
        "batches": [],
        "exit_code": None, "budget_usd": None, "spent_usd": 0.5, "projected_usd": None, "concurrency": None,
        "paused_s": None, "breaker": None, "seconds": 0.0, "notes": [],
    }  # fmt: skip
    assert path.stat().st_mode & 0o777 == 0o600


def test_it_is_at_most_two_seconds_old(tmp_path: Path) -> None:
    path, run = tmp_path / "s.json", Run(10)
    with open_status(path, run):
        run.after(0, 3, Status.FAILED)
        time.sleep(1.5)
        facts = read_status(path)
    assert facts is not None
    assert facts["rows"]["failed"] == 3


def test_it_says_how_the_run_ended(tmp_path: Path) -> None:
    path, run = tmp_path / "s.json", Run(10)
    with (status := open_status(path, run)):
        run.after(0, 10)
    facts = read_status(path)
    assert facts is not None
    assert (facts["state"], facts["rows"]["done"], facts["eta_s"]) == ("ending", 10, 0.0)
    status.end("finished", 0)
    facts = json.loads(path.read_bytes())
    assert (facts["state"], facts["exit_code"]) == ("finished", 0)


def test_a_snapshot_comes_back_whole(tmp_path: Path) -> None:
    limits = LimitState(32, 1.5, "open")
    gauges = Gauges(lambda: 7, lambda: limits, Decimal("5"), Decimal("1"))
    run = Run(40)
    run.paid("0.5", attempts=20)
    meter = Meter(run.tally, gauges, lambda: run.now)
    run.after(10, 20)
    run.tally.noted("a note")
    now = meter.snapshot()
    assert now.projected_usd == Decimal(2)
    assert from_json(json.loads(json.dumps(to_json(now)))) == now


def test_a_status_file_of_an_earlier_release_can_be_read() -> None:
    old = {"rows": {"total": 1, "pending": 1}, "attempts": {}, "tokens": {}, "cost_usd": None, "unpriced_attempts": 0,
           "in_flight": 1, "rows_per_s": None, "eta_s": None}  # fmt: skip
    assert from_json(old).limits is None


def test_readers_never_see_half_a_file(tmp_path: Path) -> None:
    path, run, stop = tmp_path / "s.json", Run(10), threading.Event()
    status = open_status(path, run)
    status.end("running")

    def write() -> None:
        while not stop.is_set():
            status.end("running")

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(500):
            assert read_status(path)
    finally:
        stop.set()
        writer.join()


def test_a_dead_process_is_told_and_another_host_is_unknown(tmp_path: Path) -> None:
    path = tmp_path / "s.json"
    dead = subprocess.Popen(["true"])
    dead.wait()
    open_status(path, Run(1)).end("running")
    facts = json.loads(path.read_bytes())
    for change, alive in (({"pid": dead.pid}, False), ({"pid": 1}, True), ({"host": "elsewhere"}, None)):
        path.write_text(json.dumps(facts | change))
        found = read_status(path)
        assert found is not None
        assert found["alive"] is alive


def test_a_full_disk_does_not_stop_the_run(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with open_status(tmp_path / "file" / "s.json", Run(1)) as status:
        pass
    status.end("finished")


def test_what_is_no_status_file(tmp_path: Path) -> None:
    path = tmp_path / "s.json"
    assert read_status(path) is None
    for text in ("", "{", "[]", "{}", '{"host": 1}'):
        path.write_text(text)
        with pytest.raises(StorageError, match="is no status file"):
            read_status(path)
    with pytest.raises(StorageError, match="cannot be read"):
        read_status(tmp_path)
