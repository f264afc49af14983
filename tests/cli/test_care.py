"""llmbatch doctor and gc, as a person meets them."""

import signal
import time
from pathlib import Path

import orjson
import pytest

from llmbatch.ledger.schema import SCHEMA_VERSION
from llmbatch.simulator import Latency, Scenario, Server, Simulator
from tests.cli.conftest import Serve, Shell, tickets

SLOW = Scenario(server=Server(brain="echo"), latency=Latency(median_ms=60))
FAST = Scenario(server=Server(brain="echo"))


def ledger(shell: Shell) -> Path:
    return shell.folder / ".llmbatch/label.duckdb"


def kill_half_way(shell: Shell, server: Simulator, rows: int) -> None:
    """A run over ``rows`` rows that is killed with half of them stored, all in the log."""
    shell.write("in.jsonl", tickets(rows))
    process = shell.start("run", "label", "-i", "in.jsonl", "--base-url", server.base_url, "--quiet")
    while server.account.total.requests < rows // 2:
        assert process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.communicate()
    time.sleep(0.3)  # the server counts what was still on the wire


def test_a_healthy_ledger(shell: Shell, serve: Serve) -> None:
    server = serve(FAST)
    shell.write("in.jsonl", tickets(30))
    shell.run("-i", "in.jsonl", url=server.base_url)
    before = ledger(shell).read_bytes()
    said = shell.call("doctor", "label").stdout.splitlines()
    assert said[0] == ".llmbatch/label.duckdb"
    assert said[1].startswith(f"  schema version {SCHEMA_VERSION}, ")
    assert said[2] == "  runs 1 (unfinished 0), attempts 30, keys 30, outcomes 30"
    assert said[3:] == ["  last attempt 30, recorded 30", "healthy"]
    facts = orjson.loads(shell.call("doctor", "label", "--json", "--repair").stdout)
    assert facts["healthy"] is True
    assert facts["repair"] is None
    assert facts["counts"]["attempts"] == 30
    assert ledger(shell).read_bytes() == before


def test_there_is_nothing_to_look_at(shell: Shell) -> None:
    for command in ("doctor", "gc"):
        assert "there is no ledger at .llmbatch/label.duckdb" in shell.call(command, "label", expect=2).stderr
        assert "is a folder" in shell.call(command, "label", "--ledger", "label", expect=2).stderr
    assert not (shell.folder / ".llmbatch").exists()


def test_while_a_run_goes_on(shell: Shell, serve: Serve) -> None:
    server = serve(SLOW)
    shell.write("in.jsonl", tickets(400))
    run = shell.start("run", "label", "-i", "in.jsonl", "--base-url", server.base_url, "--quiet")
    while server.account.total.requests < 10:
        assert run.poll() is None
    run.send_signal(signal.SIGSTOP)  # so that it does not end before they look
    for command in ("doctor", "gc"):
        assert f"another run holds the ledger: pid {run.pid}" in shell.call(command, "label", expect=75).stderr
    run.send_signal(signal.SIGCONT)
    run.communicate(timeout=60)
    assert run.returncode == 0


def test_a_killed_run_needs_no_repair(shell: Shell, serve: Serve) -> None:
    server = serve(SLOW)
    kill_half_way(shell, server, 200)
    said = shell.call("doctor", "label").stdout
    assert "note: the last process that held it ended without letting go (pid " in said
    assert said.endswith("\nhealthy\n")


@pytest.mark.slow
def test_a_broken_log_is_refused_explained_repaired_and_gone_on_with(shell: Shell, serve: Serve) -> None:
    server = serve(SLOW)
    kill_half_way(shell, server, 300)
    stored = orjson.loads(shell.call("doctor", "label", "--json").stdout)["counts"]["attempts"]
    log = ledger(shell).with_name("label.duckdb.wal")
    damaged = bytearray(log.read_bytes())
    damaged[len(damaged) * 3 // 4] ^= 1
    log.write_bytes(damaged)
    sent = server.account.total.requests

    refused = shell.call("run", "label", "-i", "in.jsonl", "--base-url", server.base_url, expect=74).stderr
    assert "Corrupt WAL file" in refused
    assert "`llmbatch doctor PIPELINE --ledger " in refused
    assert server.account.total.requests == sent
    said = shell.call("doctor", "label", expect=74).stdout
    assert "damaged: the write-ahead log cannot be replayed" in said
    assert "--repair" in said
    assert log.read_bytes() == damaged

    facts = orjson.loads(shell.call("doctor", "label", "--repair", "--json").stdout)
    dropped = facts["repair"]["attempts_dropped"]
    assert 0 < dropped < stored
    kept = [shell.folder / name for name in facts["repair"]["kept_as"]]
    assert kept[1].read_bytes() == damaged
    report = shell.run("-i", "in.jsonl", url=server.base_url)
    assert report["rows"]["pending"] == 0
    kept_attempts = facts["recorded_seq"] - dropped  # a kill amid a commit leaves the record one commit behind
    assert report["rows"]["reused"] == kept_attempts
    assert report["attempts"]["sent"] == 300 - kept_attempts  # what was dropped is paid again, and nothing else
    assert "healthy" in shell.call("doctor", "label").stdout


@pytest.mark.slow
def test_loss_in_silence_is_noticed_and_accepted_by_hand(shell: Shell, serve: Serve) -> None:
    """The log is cut short: DuckDB opens it without a word."""
    server = serve(SLOW)
    kill_half_way(shell, server, 300)
    log = ledger(shell).with_name("label.duckdb.wal")
    log.write_bytes(log.read_bytes()[: log.stat().st_size // 2])
    sent = server.account.total.requests
    refused = shell.call("run", "label", "-i", "in.jsonl", "--base-url", server.base_url, expect=74).stderr
    assert "stored attempts are missing from the ledger" in refused
    assert server.account.total.requests == sent
    assert "attempts that were stored are missing" in shell.call("doctor", "label", expect=74).stdout
    said = shell.call("doctor", "label", "--repair").stdout
    assert "attempts are dropped; those replies would be paid again" in said
    assert "the damaged file is kept: .llmbatch/label.duckdb.damaged-" in said
    assert shell.run("-i", "in.jsonl", url=server.base_url)["rows"]["pending"] == 0


def test_what_cannot_be_repaired_says_so(shell: Shell) -> None:
    mine = shell.folder / "mine.db"
    mine.write_text("precious " * 100)
    said = shell.call("doctor", "label", "--ledger", "mine.db", "--repair", expect=74).stdout
    assert "name the right file with --ledger" in said
    assert said.endswith("\nnot healthy\n")
    assert mine.read_text() == "precious " * 100


@pytest.mark.slow
def test_gc_drops_what_recent_nights_did_not_use(shell: Shell, serve: Serve) -> None:
    server = serve(FAST)
    for night, first in (("mon", 0), ("tue", 20), ("wed", 40)):  # each night's input has moved on by 20 rows
        shell.write(f"{night}.jsonl", tickets(100, first))
        shell.run("-i", f"{night}.jsonl", url=server.base_url)
    assert server.account.total.requests == 140
    before = ledger(shell).read_bytes()
    planned = shell.call("gc", "label", "--keep-nights", "1", "--dry-run").stdout
    assert "would keep" in planned
    assert ledger(shell).read_bytes() == before

    said = shell.call("gc", "label", "--keep-nights", "1").stdout
    assert said.splitlines()[1].split() == ["attempts", "140", "->", "100"]
    facts = orjson.loads(shell.call("gc", "label", "--keep-nights", "1", "--json").stdout)
    assert facts["before"] == facts["after"] == {"attempts": 100, "requests": 100, "outcomes": 100}
    assert "nothing to drop" in shell.call("gc", "label").stdout
    assert "healthy" in shell.call("doctor", "label").stdout

    assert shell.run("-i", "wed.jsonl", url=server.base_url)["attempts"]["sent"] == 0
    assert len(orjson.loads(shell.call("runs", "label", "--json").stdout)) == 4
    shell.call("report", "label")
    assert "attempt 1" in shell.call("show", "label", "r60").stdout
    assert shell.run("-i", "mon.jsonl", url=server.base_url)["attempts"]["sent"] == 40  # the price of dropping


@pytest.mark.parametrize("nights", ["0", "-1", "some"])
def test_gc_with_no_sense(shell: Shell, nights: str) -> None:
    assert "--keep-nights" in shell.call("gc", "label", "--keep-nights", nights, expect=2).stderr


def test_gc_of_a_damaged_ledger_changes_nothing(shell: Shell, serve: Serve) -> None:
    server = serve(FAST)
    shell.write("in.jsonl", tickets(5))
    shell.run("-i", "in.jsonl", url=server.base_url)
    shell.folder.joinpath(".llmbatch/label.duckdb.seq").write_text(f"{9:020d}\n")
    before = ledger(shell).read_bytes()
    assert "4 stored attempts are missing" in shell.call("gc", "label", expect=74).stderr
    assert ledger(shell).read_bytes() == before
    ledger(shell).unlink()
    assert "is gone" in shell.call("gc", "label", expect=74).stderr
    assert "it held 9 attempts" in shell.call("doctor", "label", "--repair", expect=74).stdout
