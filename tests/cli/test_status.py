"""llmbatch status --watch: goes on until the run ends, and ends as the run does."""

import os
import pty
import re
import signal
import subprocess
import sys
import time
from typing import Any

import orjson

from llmbatch.cli.status import line
from llmbatch.simulator import Latency, Scenario, Server
from tests.cli.conftest import Serve, Shell, tickets

SLOW = Scenario(server=Server(brain="echo"), latency=Latency(median_ms=150))


def begun(shell: Shell, serve: Serve, rows: int = 4_000) -> "subprocess.Popen[str]":
    server = serve(SLOW)
    shell.write("in.jsonl", tickets(rows))
    run = shell.start("run", "label", "-i", "in.jsonl", "--base-url", server.base_url, "--concurrency", 8, "--quiet")
    while server.account.total.requests < 16:
        assert run.poll() is None
        time.sleep(0.05)
    return run


def test_watching_off_a_terminal_ends_with_the_run_and_its_exit_status(shell: Shell, serve: Serve) -> None:
    run = begun(shell, serve)
    watch = shell.start("status", "label", "--watch")
    as_json = shell.start("status", "label", "--watch", "--json")
    assert watch.stdout is not None
    assert watch.stdout.readline().startswith("label: running, ")
    run.send_signal(signal.SIGINT)
    run.communicate(timeout=60)
    said, _ = watch.communicate(timeout=60)
    assert run.returncode == watch.returncode == 130
    assert said.splitlines()[-1].startswith("label: interrupted, ")
    lines = [orjson.loads(text) for text in as_json.communicate(timeout=60)[0].splitlines()]
    assert as_json.returncode == 130
    assert lines[0]["state"] == "running"
    assert lines[-1]["exit_code"] == 130


def test_watching_on_a_terminal_draws_and_leaves_the_last_state(shell: Shell, serve: Serve) -> None:
    run = begun(shell, serve, rows=100)
    ours, theirs = pty.openpty()
    env = shell.env | {"TERM": "xterm-256color"}
    argv = [sys.executable, "-m", "llmbatch", "status", "label", "--watch"]
    watch = subprocess.Popen(argv, cwd=shell.folder, env=env, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    seen = b""
    try:
        while data := os.read(ours, 65_536):
            seen += data
    except OSError:  # the other end is closed
        pass
    os.close(ours)
    run.communicate(timeout=60)
    assert watch.wait(60) == run.returncode == 0
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", seen.decode())
    assert "of 100 rows · " in text
    assert text.rstrip().splitlines()[-1].startswith("label: finished, 100 of 100 rows")


def test_a_run_that_dies_while_it_is_watched(shell: Shell, serve: Serve) -> None:
    run = begun(shell, serve)
    watch = shell.start("status", "label", "--watch")
    assert watch.stdout is not None
    watch.stdout.readline()
    run.kill()
    run.communicate()
    said, _ = watch.communicate(timeout=60)
    assert watch.returncode == 1
    assert "label: died, " in said
    assert "its process is gone: run the same command again to go on" in said
    died = shell.call("runs", "label").stdout.splitlines()[1]
    assert " died " in died
    (facts,) = orjson.loads(shell.call("runs", "label", "--json").stdout)
    assert facts["rows"]["done"] + facts["rows"]["pending"] == facts["rows"]["total"] == 4_000


def test_every_pipelines_state_when_none_is_named(shell: Shell) -> None:
    shell.write("in.jsonl", tickets(2))
    shell.run("-i", "in.jsonl", "--provider", "offline")
    (shell.pipeline).rename(shell.folder / "other")
    shell.call("run", "other", "-i", "in.jsonl", "--provider", "offline", "-q")
    lines = shell.call("status").stdout.splitlines()
    assert [text.partition(",")[0] for text in lines] == ["other: finished", "label: finished"]
    facts = orjson.loads(shell.call("status", "--json").stdout)
    assert facts["pipeline"] == "other"
    assert [other["pipeline"] for other in facts["others"]] == ["label"]
    assert shell.call("status", "--watch").stdout.startswith("other: finished")


def facts(**changed: Any) -> dict[str, Any]:
    rows = {"total": 10, "done": 4, "reused": 0, "failed": 0, "skipped": 0, "pending": 6}
    known = {"pipeline": "tag", "state": "running", "alive": True, "age_s": 0.5, "host": "h", "rows": rows,
             "attempts": {}, "tokens": {}, "cost_usd": 0.5, "unpriced_attempts": 0, "in_flight": 1, "rows_per_s": 1.0,
             "eta_s": 100.0, "updated_at": "T", "breaker": "closed", "paused_s": 0.0, "concurrency": 8}  # fmt: skip
    return {**known, **changed}


def test_one_line_says_what_is_known() -> None:
    assert line(facts()) == (
        "tag: running, 4 of 10 rows (done 4, reused 0, failed 0, skipped 0), about 2 min to go, $0.5000, updated T"
    )
    assert "provider down, probing" in line(facts(breaker="open"))
    assert line(facts(age_s=90)).endswith("; no news for 90 s: it is stopped or gone")
    assert line(facts(age_s=90, alive=None)).endswith("it is stopped or gone on h")
    assert "tag: died, " in line(facts(state="ending", alive=False))
    assert "no news" not in line(facts(state="finished", alive=False, age_s=9e9))
