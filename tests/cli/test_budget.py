"""Money as a person meets it: caps that hold over faults, kills and days, and prices that come with a file."""

import signal
import time
from decimal import Decimal
from unittest.mock import patch

import pytest

from llmbatch.simulator import Account, Fault, Latency, Scenario, Server
from llmbatch.simulator.asked import Asked
from llmbatch.simulator.brain import BRAINS, Echo
from llmbatch.types import Json
from tests.cli.conftest import Serve, Shell, tickets

#: a token a tenth of a cent
PRICES = "\n[prices.m-1]\ninput = 1000\noutput = 1000\n"


class Greedy(Echo):
    """Costs nearly what a call can cost at most: a byte is a token, and the answer nearly fills its bound."""

    def answer(self, asked: Asked) -> dict[str, Json]:
        return {"summary": "x" * ((asked.max_tokens or 0) - 20)}

    def tokens(self, text: str) -> int:
        return len(text.encode())


@pytest.fixture
def priced(shell: Shell) -> Shell:
    with (shell.pipeline / "pipeline.toml").open("a") as file:
        file.write(PRICES)
    shell.write("in.jsonl", tickets(60))
    return shell


def scenario(*faults: Fault, latency_ms: float = 0) -> Scenario:
    return Scenario(fault=faults, server=Server(brain="echo"), latency=Latency(median_ms=latency_ms))


def billed(account: Account) -> Decimal:
    """What the provider bills, delivered or not."""
    return account.total.dollars(Decimal(1000), Decimal(1000))


def test_calls_that_were_in_flight_at_a_kill_count_against_the_budget(priced: Shell, serve: Serve) -> None:
    """Each kill leaves 4 calls that the provider bills, 8 dollars in all, and of which nobody hears."""
    flags = ("--set", "request.params.max_completion_tokens=2000", "--concurrency", 4)
    with patch.dict(BRAINS, echo=Greedy):
        hanging = serve(scenario(Fault(kind="slow_body", bytes_per_s=1)))
        quick = serve(scenario())
    where = ("run", "label", "-i", "in.jsonl", "--base-url", hanging.base_url, "--budget", "30", *flags)
    for kill in range(2):
        process = priced.start(*where, "--quiet")
        while process.poll() is None and hanging.account.in_flight < 4:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        while hanging.account.in_flight:
            time.sleep(0.01)
        assert hanging.account.total.paid == 4 * (kill + 1)
    report = priced.run("-i", "in.jsonl", "--budget", "30", *flags, url=quick.base_url, expect=4)
    assert report["rows"]["done"] >= 2
    assert billed(hanging.account) > 16
    assert billed(hanging.account) + billed(quick.account) <= 30


@pytest.mark.slow
def test_attempts_that_may_be_billed_count_in_the_run_that_goes_on(priced: Shell, serve: Serve) -> None:
    server = serve(scenario(Fault(kind="reset_after_execution", share=0.5)))
    report = priced.run("-i", "in.jsonl", "--budget", "12", url=server.base_url, expect=4)
    while report["rows"]["pending"]:
        before = server.account.total.requests
        report = priced.run("-i", "in.jsonl", "--budget", "12", url=server.base_url, expect=4)
        if server.account.total.requests == before:
            break
    assert 0 < billed(server.account) <= 12
    assert report["cost"]["total_usd"] <= 12


def test_a_day_has_a_budget_of_its_own_over_all_runs(priced: Shell, serve: Serve) -> None:
    server = serve(scenario())
    priced.write("other.jsonl", tickets(60, first=60))
    day = ("--set", "budget.per_day=1.5")
    first = priced.run("-i", "in.jsonl", "--limit", "20", *day, url=server.base_url)
    assert first["rows"]["done"] == 20
    second = priced.run("-i", "other.jsonl", *day, url=server.base_url, expect=4)
    assert 0 < second["rows"]["done"] < 60
    assert billed(server.account) <= Decimal("1.5")
    assert any("budget of the day reached" in note for note in second["notes"])
    stderr = priced.call("run", "label", "-i", "other.jsonl", *day, "--base-url", server.base_url, expect=4).stderr
    assert "--set budget.per_day=MORE" in stderr
    assert priced.run("-i", "other.jsonl", url=server.base_url)["rows"]["pending"] == 0


@pytest.mark.slow
def test_a_budget_of_the_month_needs_a_price_too(shell: Shell) -> None:
    shell.write("in.jsonl", tickets(1))
    for budget in ("per_day", "per_month"):
        said = shell.call("run", "label", "-i", "in.jsonl", "--set", f"budget.{budget}=5", expect=2).stderr
        assert "a budget needs a price" in said


@pytest.mark.slow
def test_prices_come_with_a_file_and_count_first(priced: Shell, serve: Serve) -> None:
    server = serve(scenario())
    (priced.folder / "new.toml").write_text("[prices.m-1]\ninput = 2000\noutput = 2000\n")
    report = priced.run("-i", "in.jsonl", "--prices", "new.toml", url=server.base_url)
    assert Decimal(str(report["cost"]["total_usd"])) == 2 * billed(server.account)
    assert report["cost"]["price_source"] == "new.toml, pipeline [prices]"
    (priced.folder / "bad.toml").write_text("[prices.m-1]\ninput = 2000\noutptu = 1\n")
    said = priced.call("run", "label", "-i", "in.jsonl", "--prices", "bad.toml", expect=2).stderr
    assert "bad.toml:3" in said
    assert "outptu" in said
    assert "none.toml" in priced.call("run", "label", "-i", "in.jsonl", "--prices", "none.toml", expect=2).stderr


@pytest.mark.slow
def test_a_server_paid_by_the_hour_costs_its_time(shell: Shell, serve: Serve) -> None:
    """At 3,600 dollars an hour a second costs a dollar: the answers carry the time from the first call to the last."""
    server = serve(scenario(latency_ms=100))
    shell.write("in.jsonl", tickets(60))
    with (shell.pipeline / "pipeline.toml").open("a") as file:
        file.write("\n[prices.m-1]\nusd_per_hour = 3600\n")
    report = shell.run("-i", "in.jsonl", "--limit", "40", url=server.base_url)
    assert report["cost"]["unpriced_attempts"] == 0
    assert 0.1 < report["cost"]["total_usd"] <= report["wall_s"]
    rows = sum(row["llmbatch_cost_usd"] for row in shell.results())
    assert abs(rows - report["cost"]["total_usd"]) < 1e-6
    stopped = shell.run("-i", "in.jsonl", "--budget", "5.05", url=server.base_url, expect=4)
    assert stopped["rows"]["done"] <= 20  # one call may take 5 seconds, so about 50 ms are left to begin calls in
