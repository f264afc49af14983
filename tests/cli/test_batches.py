"""Provider batches as a person or cron uses them: processes of their own, killed by the system, and left alone."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections import Counter
from decimal import Decimal
from typing import Any
from urllib.request import urlopen

import duckdb
import orjson
import pytest

from llmbatch.engines.batch_api.steps import STEPS
from llmbatch.simulator import Batches, BatchFault, Clock, Scenario, Simulator
from tests.cli.conftest import Serve, Shell, tickets

ROWS = 40
FLAGS = (
    "--tier", "batch", "--set", "provider.like=openai", "--set", "batch.requests=25", "--set", "batch.poll_s=0.05",
    "--set", "batch.listing_lag_s=0.1", "--set", "prices.m-1={input=1.0, output=10.0, batch=0.5}",
)  # fmt: skip

#: ends the process as the system would, at the nth time that it passes a step
KILLED = """
import os, signal, sys
from llmbatch.engines.batch_api import steps
step, left = sys.argv[1], [int(sys.argv[2])]
def passed(name):
    if name == step:
        left[0] -= 1
        if not left[0]:
            os.kill(os.getpid(), signal.SIGKILL)
steps.passed = passed
from llmbatch.__main__ import main
sys.argv = ["llmbatch", *sys.argv[3:]]
sys.exit(main())
"""


def scenario(speed: float = 1_000, *faults: BatchFault, **batches: Any) -> Scenario:
    return Scenario(clock=Clock(speed=speed), batches=Batches(**batches), batch=faults)


def command(server: Simulator, *more: str) -> list[str]:
    return ["run", "label", "--input", "in.jsonl", "--base-url", server.base_url, "--quiet", *FLAGS, *more]


def killed_at(shell: Shell, server: Simulator, step: str, nth: int) -> int:
    """The exit status of a run that is killed at a step; 0 when it never came there."""
    line = [sys.executable, "-c", KILLED, step, str(nth), *command(server)]
    return subprocess.run(
        line, check=False, cwd=shell.folder, env=shell.env, capture_output=True, timeout=60
    ).returncode


def settled(server: Simulator) -> Simulator:
    """The server, when all its batches have ended and are in its account."""
    urlopen(server.base_url.removesuffix("/v1") + "/account").read()
    return server


def spent(shell: Shell) -> Decimal:
    with duckdb.connect(str(shell.folder / ".llmbatch/label.duckdb"), read_only=True) as con:
        row = con.execute("select sum(cost_usd) from attempts").fetchone()
    assert row is not None
    return Decimal(row[0])


def check_the_account(shell: Shell, server: Simulator, rows: int) -> None:
    """Every row was paid once, in no two live batches, and the ledger has the server's sum."""
    account = settled(server).account
    assert account.in_two_live_batches == 0
    assert Counter(served.key for served in account.requests if served.usage).most_common(1)[0][1] == 1
    assert (set(account.by_tier), account.total.paid) == ({"batch"}, rows)
    assert spent(shell) == account.total.dollars(Decimal("0.5"), Decimal(5))
    assert [f.name for f in server.batches.store.files.values() if f.name.startswith("llmbatch-")] == []
    assert [*(shell.folder / ".llmbatch").glob("*.jsonl")] == []


@pytest.mark.slow
@pytest.mark.parametrize("step", STEPS)
def test_killed_at_a_step_the_same_command_finishes_the_night(step: str, shell: Shell, serve: Serve) -> None:
    server = serve(scenario(list_lag_s=50))
    shell.write("in.jsonl", tickets(ROWS))
    assert killed_at(shell, server, step, 1) == -signal.SIGKILL
    assert killed_at(shell, server, step, 2) in (-signal.SIGKILL, 0)
    report = shell.run("--input", "in.jsonl", *FLAGS, url=server.base_url)
    assert report["rows"]["done"] + report["rows"]["reused"] == ROWS
    assert len([row for row in shell.results() if row["summary"]]) == ROWS
    check_the_account(shell, server, ROWS)


@pytest.mark.slow
def test_killed_between_creation_and_its_note_and_between_answers(shell: Shell, serve: Serve) -> None:
    """The short version of the test above."""
    server = serve(scenario(list_lag_s=50))
    shell.write("in.jsonl", tickets(ROWS))
    for step in ("created", "partly_collected"):
        assert killed_at(shell, server, step, 1) == -signal.SIGKILL
    report = shell.run("--input", "in.jsonl", *FLAGS, url=server.base_url)
    assert report["rows"]["done"] + report["rows"]["reused"] == ROWS
    check_the_account(shell, server, ROWS)


@pytest.mark.slow
def test_handed_in_watched_cancelled_and_fetched(shell: Shell, serve: Serve) -> None:
    slow = [BatchFault(kind="slow", nth=nth, factor=40) for nth in (1, 2)]
    server = serve(scenario(20, *slow))  # 62 s of a batch are 3 s
    shell.write("in.jsonl", tickets(ROWS))
    report = shell.run("--input", "in.jsonl", *FLAGS, "--detach", url=server.base_url)
    assert (report["status"], report["exit_code"], report["rows"]["pending"]) == ("waiting", 0, ROWS)
    assert report["planned"]["calls"] == pytest.approx(ROWS, abs=5)
    assert report["quality"] is None or report["quality"]["drift"] is None
    lines = shell.call("status", "label").stdout.splitlines()
    assert lines[0].startswith("label: waiting, 0 of 40 rows")
    assert ["25 requests" in lines[1], "15 requests" in lines[2]] == [True, True]
    told = shell.call("cancel", "label", "--base-url", server.base_url, "--set", "provider.like=openai").stdout
    assert "of 25 requests are done and will be billed" in told
    lines = shell.call("status", "label").stdout.splitlines()
    assert [": cancel" in line for line in lines] == [False, True, True]
    time.sleep(0.1)
    report = shell.run("--input", "in.jsonl", *FLAGS, url=server.base_url)
    assert report["rows"]["done"] == ROWS
    check_the_account(shell, server, ROWS)
    assert "no batches are open" in shell.call("cancel", "label", "--set", "provider.like=openai").stdout


def test_an_interrupt_says_what_goes_on_and_how_to_cancel_it(shell: Shell, serve: Serve) -> None:
    server = serve(scenario(1))
    shell.write("in.jsonl", tickets(ROWS))
    process = shell.start(*command(server))
    while len(server.batches.batches) < 2:
        time.sleep(0.02)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "2 batches with 40 requests are out, still running and billing; `llmbatch cancel label` cancels them" in err
    facts = orjson.loads((shell.folder / ".llmbatch/label.status.json").read_bytes())
    assert [batch["requests"] for batch in facts["batches"]] == [25, 15]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--tier", "batch"), "nothing is known of this server that would let it answer by tier batch"),
        (("--detach",), "--detach is for --tier batch"),
    ],
)
def test_mistakes_are_refused_before_anything_is_sent(flags: tuple[str, ...], words: str, shell: Shell) -> None:
    shell.write("in.jsonl", tickets(2))
    made = shell.call("run", "label", "--input", "in.jsonl", "--base-url", "http://127.0.0.1:9/v1", *flags, expect=2)
    assert words in made.stderr
    assert not (shell.folder / ".llmbatch").exists()


def test_a_plan_at_tier_batch_has_its_price_and_one_that_cannot_be_is_refused(shell: Shell) -> None:
    shell.write("in.jsonl", tickets(5))
    words = ("plan", "label", "--input", "in.jsonl", "--base-url", "http://127.0.0.1:9/v1", "--tier", "batch")
    refused = shell.call(*words, expect=2).stderr
    assert "batch is known of openai, azure, groq" in refused
    shape = orjson.loads(shell.call(*words, "--json", *FLAGS[2:]).stdout)
    dollars = {tier["tier"]: tier["cost_usd"]["likely"] for tier in shape["tiers"]}
    assert shape["tier"] == "batch"
    assert shape["cost_usd"]["likely"] == dollars["batch"] == dollars["standard"] / 2
    assert shape["time"] == {"seconds": None, "limited_by": "batch"}
