import http.server
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import orjson
import pytest

from llmbatch.ledger import Lock
from llmbatch.outside.command import VARIABLES, Command, Ending
from llmbatch.report import from_json
from llmbatch.simulator import Latency, Scenario
from tests.cli.conftest import Serve, Shell, serve, shell, tickets
from tests.pages import ROOT, blocks, table

__all__ = ["serve", "shell"]
PAGE = ROOT / "docs/observability.md"
SAVE = "env >env.txt; cat >stdin.json; pwd; echo oops >&2"
NOT_STARTED = Ending("tag", 2, "not_started", None, "no such file: in.jsonl")


def heard(shell: Shell) -> tuple[dict[str, str], bytes]:
    """What the command saved of its environment and its input."""
    lines = (shell.folder / "env.txt").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line), (shell.folder / "stdin.json").read_bytes()


def test_the_page_names_every_variable() -> None:
    rows = table(PAGE, "A command at the end")
    assert {name.strip("`"): words for name, words in rows} == VARIABLES


def test_it_hears_how_the_run_ended(shell: Shell, serve: Serve) -> None:
    shell.write("in.jsonl", tickets(20))
    toml = shell.pipeline / "pipeline.toml"
    toml.write_text(f'{toml.read_text()}\n[provider]\napi_key_env = "OUR_SECRET"\n')
    shell.env |= dict.fromkeys(("OPENAI_API_KEY", "OUR_SECRET"), "sk-proj-abcdefghij0123456789")
    shell.env["WEBHOOK_TOKEN"] = "0123456789"
    url = serve(Scenario()).base_url
    done = shell.call("run", "label", "-i", "in.jsonl", "--base-url", url, "--quiet", "--on-finish", f"{SAVE}; exit 3")
    note = "llmbatch: note: --on-finish: exit status 3"
    assert done.stderr.splitlines() == [str(shell.folder), "oops", note]
    assert done.stdout == ""
    env, stdin = heard(shell)
    assert stdin == (shell.folder / "results/label/report.json").read_bytes()
    report = orjson.loads(stdin)
    told = {name for name in env if name.startswith("LLMBATCH_") and not name.startswith("LLMBATCH_TEST_")}
    assert told == set(VARIABLES)
    assert env["LLMBATCH_RUN_ID"] == report["run_id"]
    assert env["LLMBATCH_STATUS"] == "finished"
    assert env["LLMBATCH_ROWS_DONE"] == "20"
    assert env["LLMBATCH_COST_USD"] == ""
    assert env["LLMBATCH_SUMMARY"].startswith("label: Finished: 20 of 20 rows valid.")
    for name in ("RESULTS", "FAILED_JSONL", "REPORT", "HTML", "LEDGER"):
        assert Path(env[f"LLMBATCH_{name}"]).is_file()
    assert not {"OPENAI_API_KEY", "OUR_SECRET"} & env.keys()
    assert env["WEBHOOK_TOKEN"] == "0123456789"  # the command's own


@pytest.mark.parametrize(
    ("args", "code", "status"),
    [
        (["--set", "limits.max_attempts=1"], 3, "too_many_failed"),
        (["-i", "absent.jsonl"], 2, "not_started"),
        pytest.param(["--set", "limits.concurency=1"], 2, "not_started", marks=pytest.mark.slow),
        pytest.param(["--output", "/proc/none", "--provider", "offline"], 74, "storage_failed", marks=pytest.mark.slow),
    ],
)
def test_whatever_the_ending(shell: Shell, args: list[str], code: int, status: str) -> None:
    shell.write("in.jsonl", tickets(3))
    done = shell.call("run", "label", "-i", "in.jsonl", "--base-url", "http://127.0.0.1:9/v1", *args,
                      "--on-finish", SAVE, expect=code)  # fmt: skip
    assert "oops" in done.stderr
    env, stdin = heard(shell)
    assert (env["LLMBATCH_EXIT_CODE"], env["LLMBATCH_STATUS"]) == (str(code), status)
    assert bool(stdin) == (code == 3)
    assert f"exit {code}" in env["LLMBATCH_SUMMARY"] or code == 3


def test_when_another_run_is_at_work(shell: Shell) -> None:
    shell.write("in.jsonl", tickets(1))
    ledger = shell.folder / "l.duckdb"
    with Lock(ledger):
        shell.call("run", "label", "-i", "in.jsonl", "--ledger", ledger, "--provider", "offline", "--on-finish", SAVE,
                   "--metrics-file", "x.prom", expect=75)  # fmt: skip
    assert heard(shell)[0]["LLMBATCH_EXIT_CODE"] == "75"
    assert not (shell.folder / "x.prom").exists()


@pytest.mark.slow
def test_the_ledger_is_free_and_the_run_was_stopped_by_a_signal(shell: Shell, serve: Serve) -> None:
    shell.write("in.jsonl", tickets(2_000))
    url = serve(Scenario(latency=Latency(median_ms=50))).base_url
    command = f"{sys.executable} -m llmbatch runs label >runs.txt; {SAVE}"
    process = shell.start("run", "label", "-i", "in.jsonl", "--base-url", url, "--on-finish", command)
    status = shell.folder / ".llmbatch/label.status.json"
    while not status.exists() or orjson.loads(status.read_bytes())["rows"]["done"] < 20:
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 143
    env, stdin = heard(shell)
    assert env["LLMBATCH_STATUS"] == orjson.loads(stdin)["status"] == "interrupted"
    assert "interrupted" in (shell.folder / "runs.txt").read_text()


@pytest.mark.parametrize(
    "command",
    [
        "sleep 60",
        "trap '' TERM; sleep 60",
        "sh -c 'trap \"\" TERM; sleep 60' & wait",
    ],
)
def test_it_has_its_time_and_no_more(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llmbatch.outside.command._GRACE_S", 0.1)
    lines: list[str] = []
    fault = Command(f"echo $$; {command}", 0.3, ()).run(NOT_STARTED, lines.append)
    assert fault == "took longer than 0 s and was ended"
    group = int(lines[0])
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:  # what was killed is gone when its parent has reaped it
        alive = subprocess.run(["ps", "-o", "stat=", "-g", str(group)], capture_output=True, text=True, check=False)
        if not [state for state in alive.stdout.split() if not state.startswith("Z")]:
            return
        time.sleep(0.02)
    pytest.fail("something of it lives on")


def test_what_it_leaves_in_the_background_holds_nobody_up() -> None:
    lines: list[str] = []
    started = time.monotonic()
    assert Command("sleep 30 & echo $!", 60, ()).run(NOT_STARTED, lines.append) is None
    assert time.monotonic() - started < 20
    os.kill(int(lines[0]), signal.SIGKILL)


def test_a_signal_ends_the_command_and_leaves_the_run_its_status() -> None:
    lines: list[str] = []
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGTERM))
    timer.start()
    assert Command("sleep 60", 60, ()).run(NOT_STARTED, lines.append) == "ended by SIGTERM"
    timer.join()


Seen = list[tuple[str, str, bytes]]  # method, path, body


class Server(http.server.ThreadingHTTPServer):
    seen: Seen


class Hook(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.seen.append((self.command, self.path, body))
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None: ...


@contextmanager
def webhook() -> Iterator[tuple[str, Seen]]:
    server = Server(("127.0.0.1", 0), Hook)
    server.seen = []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", server.seen
    finally:
        server.shutdown()
        server.server_close()


def test_the_examples_work(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each line of the page, by the real /bin/sh, against a real server; and a `mail` that keeps what it gets."""
    shell.write("in.jsonl", tickets(3))
    shell.run("-i", "in.jsonl", "--provider", "offline")
    report = from_json(orjson.loads((shell.folder / "results/label/report.json").read_bytes()))
    (page,) = [block for block in blocks(PAGE, "sh") if "--on-finish" in block.text]
    examples = [re.search(r"--on-finish '(.*)'$", line) for line in page.text.splitlines()]
    mail, chat, post, ping = [match[1] for match in examples if match]
    (shell.folder / "mail").write_text('#!/bin/sh\nprintf "%s\\n" "$@" >mail.txt\n')
    (shell.folder / "mail").chmod(0o755)
    monkeypatch.chdir(shell.folder)
    monkeypatch.setenv("PATH", f"{shell.folder}:{os.environ['PATH']}")
    with webhook() as (url, seen):
        for name in ("CHAT_WEBHOOK", "WEBHOOK", "PING_URL"):
            monkeypatch.setenv(name, f"{url}/{name}")
        for command in (mail, chat, post, ping):
            assert Command(command, 60, ()).run(Ending("label", 0, "finished", report, None), pytest.fail) is None
        assert not (shell.folder / "mail.txt").exists()
        assert Command(f"{mail}; {ping}", 60, ()).run(NOT_STARTED, pytest.fail) is None
    assert [(method, path) for method, path, _ in seen] == [
        ("POST", "/CHAT_WEBHOOK"), ("POST", "/WEBHOOK"), ("GET", "/PING_URL/0"), ("GET", "/PING_URL/2"),
    ]  # fmt: skip
    assert orjson.loads(seen[0][2])["text"].startswith("label: Finished: 3 of 3 rows valid")
    assert orjson.loads(seen[1][2])["rows"]["done"] == 3
    assert "tag: not started, exit 2: no such file" in (shell.folder / "mail.txt").read_text()
