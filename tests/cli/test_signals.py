"""Signals, closed terminals and gone readers: what a run makes of them, by real processes."""

import contextlib
import fcntl
import os
import pty
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from llmbatch.simulator import Fault, Latency, Scenario, Server, Simulator
from tests.cli.conftest import Serve, Shell, tickets

CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}
ROWS = 60

#: llmbatch with a shorter grace time
IMPATIENT = "import llmbatch.cli.signals as s; s.GRACE_S = 0.5; from llmbatch.cli import main; raise SystemExit(main())"
#: llmbatch that takes two seconds to write results, half of them asking the ledger for every row alone
SLOW_WRITER = """
import time, llmbatch.cli.answers as answers
from llmbatch.cli import main
answer, answers._FIRST_ANSWERS, answers._MOST_ANSWERS = answers.answer_of, 1, 1
answers.answer_of = lambda found: time.sleep(0.01) or answer(found)
raise SystemExit(main())
"""
#: what a shell in a new terminal does: the terminal on descriptor 0 becomes the process's own
AT_TERMINAL = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execvp(sys.argv[1], sys.argv[1:])"
)


def scenario(*faults: Fault, latency_ms: float = 0) -> Scenario:
    return Scenario(fault=faults, server=Server(brain="echo"), latency=Latency(median_ms=latency_ms))


def until(happened: Callable[[], object], process: subprocess.Popen[Any] | None = None) -> None:
    """Wait for something while a process lives."""
    give_up = time.monotonic() + 60
    while not happened():
        assert process is None or process.poll() is None, process.communicate()
        assert time.monotonic() < give_up
        time.sleep(0.01)


def has_open(process: subprocess.Popen[Any], path: Path) -> bool:
    """Whether a process has a file open; descriptors come and go while they are looked at."""
    for number in Path(f"/proc/{process.pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            if number.readlink() == path:
                return True
    return False


def command(server: Simulator, *more: object) -> list[str]:
    return ["run", "label", "-i", "in.jsonl", "--base-url", server.base_url, *map(str, more)]


def program(shell: Shell, text: str, *args: str) -> subprocess.Popen[str]:
    """A variant of llmbatch."""
    streams: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen([sys.executable, "-c", text, *args], cwd=shell.folder, env=shell.env, text=True, **streams)


def report(shell: Shell) -> dict[str, Any]:
    facts: dict[str, Any] = orjson.loads((shell.folder / "results/label/report.json").read_bytes())
    return facts


def goes_on(shell: Shell, server: Simulator, expect_requests: int = ROWS) -> None:
    """The same command reaches every row, and asks for none that is stored."""
    shell.run("-i", "in.jsonl", "--concurrency", 50, url=server.base_url)
    assert server.account.total.requests == expect_requests
    assert [row["llmbatch_status"] for row in shell.results()] == ["done"] * ROWS
    assert not [path for path in shell.folder.rglob("*") if path.name.endswith((".tmp", ".spill"))]


@pytest.mark.parametrize(
    ("number", "flags"), [(signal.SIGINT, []), (signal.SIGTERM, ["--quiet"]), (signal.SIGHUP, ["--json"])]
)
def test_the_first_signal_lets_calls_in_flight_end(
    shell: Shell, serve: Serve, number: signal.Signals, flags: list[str]
) -> None:
    server = serve(scenario(latency_ms=200))
    shell.write("in.jsonl", tickets(ROWS))
    args = command(server, "--concurrency", 8, *flags)
    run = shell.start(*args)
    until(lambda: server.account.total.requests >= 8, run)
    run.send_signal(number)
    out, err = run.communicate(timeout=60)
    assert run.returncode == CODES[number], err
    facts = report(shell)
    assert (facts["status"], facts["exit_code"]) == ("interrupted", CODES[number])
    sent = server.account.total.requests
    assert 8 <= facts["rows"]["done"] == sent <= 24
    assert facts["rows"]["pending"] == ROWS - sent
    assert [row["llmbatch_status"] for row in shell.results()].count("done") == sent
    assert err.splitlines()[-1].strip() == " ".join(["llmbatch", *args])
    assert "Traceback" not in err
    if "--quiet" in flags:
        assert (out, len(err.splitlines())) == ("", 3)
    else:
        assert f"interrupted by {number.name}: calls in flight get 30 s" in err
    if number == signal.SIGTERM:
        goes_on(shell, server)


def test_the_second_signal_cuts_calls_in_flight_short(shell: Shell, serve: Serve) -> None:
    server = serve(scenario(Fault(kind="hang", match="month 1"), latency_ms=50))
    shell.write("in.jsonl", tickets(ROWS))
    run = shell.start(*command(server, "--concurrency", 20, "--set", "limits.timeout_s=60"))
    until(lambda: server.account.in_flight == 11 and server.account.total.requests == 49, run)
    run.send_signal(signal.SIGTERM)
    with pytest.raises(subprocess.TimeoutExpired):
        run.wait(0.5)
    run.send_signal(signal.SIGINT)
    began = time.monotonic()
    _, err = run.communicate(timeout=60)
    assert time.monotonic() - began < 10  # of the 30 that calls in flight would have had
    assert run.returncode == 143, err
    facts = report(shell)
    assert (facts["rows"]["done"], facts["rows"]["pending"]) == (49, 11)
    assert facts["attempts"]["possibly_paid_twice"] == 11
    fine = serve(scenario())
    goes_on(shell, fine, expect_requests=11)


def test_calls_in_flight_are_cut_short_after_the_grace_time(shell: Shell, serve: Serve) -> None:
    server = serve(scenario(Fault(kind="hang", match="number 59:")))
    shell.write("in.jsonl", tickets(ROWS))
    run = program(shell, IMPATIENT, *command(server, "--set", "limits.timeout_s=60"))
    until(lambda: server.account.total.requests == ROWS - 1, run)
    run.send_signal(signal.SIGTERM)
    _, err = run.communicate(timeout=60)
    assert run.returncode == 143, err
    assert report(shell)["rows"]["pending"] == 1


@pytest.mark.parametrize("number", CODES)
def test_a_signal_while_the_input_is_read_ends_at_once(shell: Shell, number: signal.Signals) -> None:
    run = shell.start("run", "label", "-i", "-", "--provider", "offline", stdin=subprocess.PIPE)
    assert run.stdin is not None
    ledgers = shell.folder / ".llmbatch"
    until(lambda: list(ledgers.glob("stdin-*")), run)
    run.send_signal(number)
    run.wait(60)
    out, err = run.communicate()
    assert run.returncode == CODES[number], err
    assert out == ""
    assert err.splitlines()[0] == f"llmbatch: interrupted by {number.name}"
    assert err.splitlines()[-1].strip() == "llmbatch run label -i - --provider offline"
    assert not list(ledgers.glob("stdin-*"))
    assert not (shell.folder / "results").exists()


def test_a_signal_while_the_lock_is_awaited_ends_at_once(shell: Shell) -> None:
    shell.write("in.jsonl", tickets(3))
    (shell.folder / ".llmbatch").mkdir()
    lock = shell.folder / ".llmbatch/label.duckdb.lock"
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        run = shell.start("run", "label", "-i", "in.jsonl", "--provider", "offline", "--wait")
        until(lambda: has_open(run, lock), run)
        run.send_signal(signal.SIGTERM)
        _, err = run.communicate(timeout=60)
    assert run.returncode == 143, err
    assert "Traceback" not in err
    shell.run("-i", "in.jsonl", "--provider", "offline")


@pytest.mark.slow
@pytest.mark.parametrize("times", [1, 2])
def test_signals_while_results_are_written(shell: Shell, serve: Serve, times: int) -> None:
    """The first lets them be written, one more leaves the older ones whole."""
    server = serve(scenario())
    shell.write("in.jsonl", tickets(100))
    shell.run("-i", "in.jsonl", "--limit", 50, "--concurrency", 50, url=server.base_url)
    results = shell.folder / "results/label/results.jsonl"
    older = results.read_bytes()
    args = command(server, "--quiet")
    run = program(shell, SLOW_WRITER, *args)
    new = results.with_name(f".results.jsonl.{run.pid}.tmp")
    until(new.exists, run)
    for _ in range(times):
        time.sleep(0.1)
        assert new.exists()
        run.send_signal(signal.SIGTERM)
    _, err = run.communicate(timeout=60)
    if times == 1:
        assert (run.returncode, err) == (0, "")
        assert len(shell.results()) == 100
    else:
        assert run.returncode == 143, err
        assert err.startswith("llmbatch: interrupted by SIGTERM while results and reports were written; ")
        assert err.splitlines()[-1].strip() == " ".join(["llmbatch", *args])
        assert results.read_bytes() == older
        assert not new.exists()
        assert shell.run("-i", "in.jsonl", url=server.base_url)["rows"]["pending"] == 0
        assert len(shell.results()) == 100
    assert server.account.total.requests == 100


class Terminal:
    """A terminal with one process in it, whose output is read as it comes."""

    def __init__(self, shell: Shell, *argv: str) -> None:
        self.screen = b""
        self._own, other = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-c", AT_TERMINAL, *argv],
            cwd=shell.folder, env=shell.env, stdin=other, stdout=other, stderr=other, start_new_session=True,
        )  # fmt: skip
        os.close(other)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._closing = False
        self._reader.start()

    def _read(self) -> None:
        os.set_blocking(self._own, False)
        while not self._closing:
            try:
                self.screen += os.read(self._own, 65536)
            except BlockingIOError:
                time.sleep(0.01)
            except OSError:  # the other side is closed
                return

    def type(self, keys: bytes) -> None:
        os.write(self._own, keys)

    def close(self) -> None:
        """Close the window."""
        self._closing = True
        self._reader.join()
        os.close(self._own)


def test_ctrl_c_at_a_terminal(shell: Shell, serve: Serve) -> None:
    server = serve(scenario(latency_ms=200))
    shell.write("in.jsonl", tickets(ROWS))
    args = command(server, "--concurrency", 8)
    terminal = Terminal(shell, sys.executable, "-m", "llmbatch", *args)
    until(lambda: server.account.total.requests >= 8, terminal.process)
    terminal.type(b"\x03")
    assert terminal.process.wait(60) == 130
    terminal.close()
    screen = terminal.screen.decode()
    assert "\x1b[?25l" in screen  # a display was drawn
    assert screen.rindex("\x1b[?25h") > screen.rindex("\x1b[?25l")  # and gave the cursor back
    assert "calls in flight get 30 s" in " ".join(screen.split())
    assert screen.rstrip().splitlines()[-1].strip() == " ".join(["llmbatch", *args])
    assert "Traceback" not in screen
    assert report(shell)["rows"]["done"] == server.account.total.requests


@pytest.mark.parametrize("flags", [[], ["--quiet", "--json"]], ids=["display", "quiet"])
def test_a_terminal_that_closes(shell: Shell, serve: Serve, flags: list[str]) -> None:
    """The kernel sends SIGHUP, and every word to the terminal fails with EIO."""
    server = serve(scenario(latency_ms=200))
    shell.write("in.jsonl", tickets(ROWS))
    terminal = Terminal(shell, sys.executable, "-m", "llmbatch", *command(server, "--concurrency", 8, *flags))
    until(lambda: server.account.total.requests >= 8, terminal.process)
    terminal.close()
    assert terminal.process.wait(60) == 129
    facts = report(shell)
    assert (facts["status"], facts["exit_code"]) == ("interrupted", 129)
    assert facts["rows"]["done"] == server.account.total.requests < ROWS
    assert len(shell.results()) == ROWS


def test_nohup_outlives_its_terminal(shell: Shell, serve: Serve) -> None:
    server = serve(scenario(latency_ms=200))
    shell.write("in.jsonl", tickets(ROWS))
    terminal = Terminal(shell, "nohup", sys.executable, "-m", "llmbatch", *command(server, "--concurrency", 20))
    until(lambda: server.account.total.requests >= 8, terminal.process)
    terminal.close()
    assert terminal.process.wait(60) == 0
    assert "60 done" in (shell.folder / "nohup.out").read_text()


@pytest.mark.parametrize("reader", ["2>&1 | head -n 0", "--json | head -c 1", ">&- 2>&-", "--json <&- >&- 2>&-"])
def test_a_reader_that_goes_changes_nothing(shell: Shell, serve: Serve, reader: str) -> None:
    server = serve(scenario(Fault(kind="refusal", match="number 7:")))
    shell.write("in.jsonl", tickets(ROWS))
    llmbatch = " ".join([sys.executable, "-m", "llmbatch", *command(server)])
    script = f'{llmbatch} {reader}; echo "exit ${{PIPESTATUS[0]}}"'
    done = subprocess.run(
        ["bash", "-c", script], cwd=shell.folder, env=shell.env, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.endswith("exit 3\n"), done.stdout
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
    facts = report(shell)
    assert (facts["status"], facts["rows"]["done"]) == ("too_many_failed", ROWS - 1)
