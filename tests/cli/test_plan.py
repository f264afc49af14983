"""llmbatch plan: it sends nothing and says what a run then does."""

import signal
import time
from pathlib import Path
from typing import Any

import orjson
import pytest

from llmbatch.cli.history import table
from llmbatch.simulator import Fault, Latency, Scenario, Server
from tests.cli.conftest import Serve, Shell, tickets

PRICES = "\n[prices.m-1]\ninput = 0.25\noutput = 2.0\nbatch = 0.5\nflex = 0.5\n"


def scenario(*faults: Fault, latency_ms: float = 0) -> Scenario:
    return Scenario(fault=faults, server=Server(brain="echo"), latency=Latency(median_ms=latency_ms))


def priced(shell: Shell) -> Shell:
    with (shell.pipeline / "pipeline.toml").open("a") as file:
        file.write(PRICES)
    return shell


def plan(shell: Shell, *args: object, url: str | None = None, expect: int = 0) -> dict[str, Any]:
    where = ("--base-url", url) if url else ()
    out = shell.call("plan", "label", "-i", "in.jsonl", *where, "--json", *args, expect=expect).stdout
    shape: dict[str, Any] = orjson.loads(out)
    rows = dict(shape["rows"])
    kinds = ("reused", "new", "reasked", "twins", "failed", "skipped", "too_long")
    assert rows["total"] == sum(rows[kind] for kind in kinds)
    return shape


def test_a_first_plan_sends_nothing_and_leaves_nothing(shell: Shell, serve: Serve) -> None:
    server = serve(scenario())
    shell.write("in.jsonl", tickets(40))
    before = sorted(shell.folder.iterdir())
    shape = plan(priced(shell), url=server.base_url)
    assert server.account.total.requests == 0
    assert sorted(shell.folder.iterdir()) == before
    assert (shape["rows"]["new"], shape["rows"]["gone"], shape["basis"]) == (40, None, "rule of thumb")
    assert shape["cost_usd"]["low"] < shape["cost_usd"]["likely"] < shape["cost_usd"]["high"]
    assert shape["time"] == {"seconds": None, "limited_by": None}
    dollars = {tier["tier"]: tier["cost_usd"]["likely"] for tier in shape["tiers"]}
    assert dollars["batch"] == dollars["flex"] == dollars["standard"] / 2
    words = shell.call("plan", "label", "-i", "in.jsonl", "--base-url", server.base_url, "--budget", "0.0001").stdout
    for line in ("40 = 40 new", "at tier batch about $", "Budget      $0.0001 left, enough for about", "rule of thumb"):
        assert line in words


def test_it_says_what_the_run_then_does(shell: Shell, serve: Serve) -> None:
    """Reused, new, changed, gone, over-long, unusable, failed for good and asked again, each as in the report."""
    twin = {**tickets(1)[0], "id": "twin"}
    server = serve(
        scenario(
            Fault(kind="refusal", match="number 5:"),
            Fault(kind="wrong_shape", match="number 6:"),
        )
    )
    shell.write("in.jsonl", [*tickets(30), twin])
    flags = ("--max-failed", "100%", "--set", "limits.max_attempts=2")
    night = shell.run("-i", "in.jsonl", *flags, url=server.base_url)
    assert night["rows"]["failed"] == 2
    assert night["planned"]["calls"] > 0
    tonight = [*tickets(28), *tickets(5, first=100)]
    tonight[0] = {**tonight[0], "text": "Changed."}
    tonight[1] = {**tonight[1], "text": "x" * 500}
    with (shell.pipeline / "pipeline.toml").open("a") as file:
        file.write("\n[output]\nprefix = ''\n")
    text = (
        (shell.pipeline / "pipeline.toml")
        .read_text()
        .replace('require = ["text"]', 'require = ["text"]\nmax_chars = 400')
    )
    (shell.pipeline / "pipeline.toml").write_text(text)
    shell.write("in.jsonl", tonight)
    with (shell.folder / "in.jsonl").open("a") as file:
        file.write("{broken\n")
    refused = shell.call("plan", "label", "-i", "in.jsonl", expect=2)
    assert "in.jsonl:34" in refused.stderr
    rows = plan(shell, "--skip-bad-rows", "--set", "limits.max_attempts=3", url=server.base_url)["rows"]
    kinds = ("reused", "new", "reasked", "failed", "skipped", "too_long", "added", "changed", "gone")
    assert {kind: rows[kind] for kind in kinds} == {
        "reused": 24, "new": 6, "reasked": 1, "failed": 1, "skipped": 1, "too_long": 1,
        "added": 5, "changed": 1, "gone": 3,
    }  # fmt: skip
    asked = server.account.total.requests
    report = shell.run(
        "-i", "in.jsonl", "--skip-bad-rows", *flags[:2], "--set", "limits.max_attempts=3", url=server.base_url
    )
    assert report["rows"]["reused"] == 24
    assert server.account.total.requests - asked >= 7
    assert {name: report["changes"][name] for name in ("new", "changed", "gone")} == {"new": 5, "changed": 1, "gone": 3}


@pytest.mark.slow
def test_a_probe_is_stored_and_the_run_goes_on_with_it(shell: Shell, serve: Serve) -> None:
    server = serve(scenario())
    priced(shell).write("in.jsonl", tickets(60))
    shape = plan(shell, "--probe", 20, url=server.base_url)
    assert server.account.total.requests == 20
    assert (shape["probed"], shape["rows"]["reused"], shape["rows"]["new"]) == (20, 20, 40)
    assert shape["basis"] == "a probe of 20 rows"
    again = plan(shell, url=server.base_url)
    assert (again["cost_usd"], again["rows"]) == (shape["cost_usd"], shape["rows"])
    report = shell.run("-i", "in.jsonl", url=server.base_url)
    assert server.account.total.requests == 60
    assert (report["rows"]["reused"], len(report["resumed"])) == (20, 1)
    assert sum(row["llmbatch_status"] == "done" for row in shell.results()) == 60
    off = report["cost"]["total_usd"] / report["planned"]["cost_usd"]["likely"] - 1
    assert abs(off) < 0.1
    newest, probe = (night["report"] for night in orjson.loads(shell.call("runs", "label", "--json").stdout))
    assert probe["status"] == "probe"
    assert newest["planned"] == report["planned"]


def test_the_table_of_runs_says_how_far_plans_were_off() -> None:
    def night(cost: float, planned: float | None) -> dict[str, Any]:
        plan = None if planned is None else {"cost_usd": {"likely": planned}}
        facts = {"run_id": "r", "status": "finished", "total": 1, "rows": {}, "ended_at": None, "cost_usd": cost}
        return {**facts, "prompt_version": "v", "report": {"planned": plan, "cost": {"total_usd": cost}}}

    shown = table([night(1.1, 1.0), night(0.5, 1.0), night(1.0, None)], 200, color=False)
    head, *lines = shown.splitlines()
    end = head.index("vs plan") + len("vs plan")
    assert [line[:end].split()[-1] for line in lines] == ["+10%", "-50%", "-"]


@pytest.mark.slow
def test_a_probe_keeps_to_the_budget_and_ends_as_a_run_does(shell: Shell, serve: Serve) -> None:
    server = serve(scenario(latency_ms=300))
    priced(shell).write("in.jsonl", tickets(60))
    where = (
        "plan",
        "label",
        "-i",
        "in.jsonl",
        "--base-url",
        server.base_url,
        "--probe",
        "30",
        "--set",
        "limits.concurrency=4",
    )
    stopped = shell.call(*where, "--budget", "0.0008", expect=4)
    assert "the probe stopped: budget reached" in stopped.stderr
    assert 0 < server.account.total.requests < 30
    process = shell.start(*where)
    while server.account.in_flight < 2:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    assert process.communicate()[0] == ""
    assert process.returncode == 130
    paid = server.account.total.requests
    assert shell.run("-i", "in.jsonl", url=server.base_url)["rows"]["pending"] == 0
    assert server.account.total.requests == 60
    assert paid < 60


@pytest.mark.slow
def test_a_plan_of_a_locked_ledger_is_exit_75(shell: Shell, serve: Serve) -> None:
    server = serve(scenario(latency_ms=60_000))
    shell.write("in.jsonl", tickets(30))
    process = shell.start("run", "label", "-i", "in.jsonl", "--base-url", server.base_url, "--quiet")
    while not server.account.in_flight:
        time.sleep(0.01)
    shell.call("plan", "label", "-i", "in.jsonl", expect=75)
    process.kill()
    process.communicate()


@pytest.mark.slow
def test_standard_input_can_be_planned(shell: Shell, tmp_path: Path) -> None:
    lines = "".join(orjson.dumps(row).decode() + "\n" for row in tickets(3))
    out = shell.call("plan", "label", "-i", "-", "--json", stdin=lines).stdout
    assert orjson.loads(out)["rows"]["new"] == 3
    assert orjson.loads(out)["cost_usd"] is None
    assert not (tmp_path / ".llmbatch").exists()
