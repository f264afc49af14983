"""--tier auto as a person or cron uses it: processes of their own, killed and left, beside a simulator in a hurry."""

from __future__ import annotations

import signal
import time
from decimal import Decimal
from typing import Any

import orjson
import pytest

from llmbatch.simulator import Batches, BatchFault, Clock, Fault, Latency, Limits, Scenario, Simulator
from tests.cli.conftest import Serve, Shell, tickets
from tests.cli.test_batches import settled, spent

FLAGS = (
    "--tier", "auto", "--set", "provider.like=openai", "--set", "batch.requests=20", "--set", "batch.poll_s=0.2",
    "--set", "batch.listing_lag_s=0.1", "--set", "batch.cancel_s=1",
    "--set", "prices.m-1={input=1.0, output=10.0, batch=0.5, flex=0.5}",
)  # fmt: skip
DEAR_FLEX = ("--set", "prices.m-1={input=1.0, output=10.0, batch=0.5, flex=0.8}")
BUSY = Fault(kind="flex_unavailable")


def scenario(
    *faults: Fault,
    batch: tuple[BatchFault, ...] = (),
    speed: float = 100,
    per_s: float = 50,
    cancelling_s: float = 10,
    **batches: Any,
) -> Scenario:
    """62 s of a batch are 0.6 s."""
    return Scenario(
        limits=Limits(requests_per_minute=60 * per_s, burst_s=1),
        latency=Latency(median_ms=20),
        clock=Clock(speed=speed),
        batches=Batches(cancelling_s=cancelling_s, **batches),
        batch=batch,
        fault=faults,
    )


def seen_before(shell: Shell, server: Simulator, *more: str) -> None:
    """A night by batches, so that the ledger knows how long those take."""
    shell.write("before.jsonl", tickets(40, first=10_000))
    shell.run("--input", "before.jsonl", *FLAGS, *more, "--tier", "batch", url=server.base_url)


def decisions(report: dict[str, Any]) -> list[tuple[str, bool]]:
    return [(one["tier"], one["cancels_batches"]) for one in report["schedule"]["decisions"]]


def check(shell: Shell, server: Simulator, report: dict[str, Any], rows: int, *, killed: bool = False) -> None:
    """Every row has its outcome, in time; no row was in two live batches; the sums are the server's."""
    assert report["rows"]["done"] + report["rows"]["reused"] == rows
    assert report["schedule"]["met"]
    account = settled(server).account
    prices = {tier: Decimal(1 if tier == "default" else 0.5) for tier in account.by_tier}
    billed = [sums.dollars(prices[tier], 10 * prices[tier]) for tier, sums in account.by_tier.items()]
    assert spent(shell) == sum(billed) or (killed and spent(shell) < sum(billed))  # a kill loses calls in flight
    assert account.in_two_live_batches == 0


def test_flex_that_answers_is_all_it_takes(shell: Shell, serve: Serve) -> None:
    server = serve(scenario())
    shell.write("in.jsonl", tickets(60))
    report = shell.run("--input", "in.jsonl", *FLAGS, "--deadline", "in 60s", url=server.base_url)
    assert decisions(report) == [("flex", False), ("flex", False)]
    assert [tier["tier"] for tier in report["cost"]["by_tier"]] == ["flex"]
    assert report["schedule"]["discount_usd"] == pytest.approx(report["cost"]["total_usd"])
    check(shell, server, report, 60)


@pytest.mark.slow
def test_batches_that_are_not_done_are_cancelled_in_time_and_what_they_did_is_kept(shell: Shell, serve: Serve) -> None:
    slow = tuple(BatchFault(kind="slow", nth=nth, factor=40) for nth in range(3, 60))
    server = serve(scenario(BUSY, batch=slow))
    seen_before(shell, server)
    shell.write("in.jsonl", tickets(100))
    report = shell.run("--input", "in.jsonl", *FLAGS, "--deadline", "25s", url=server.base_url)
    assert ("batch", False) in decisions(report)
    assert ("flex", True) in decisions(report)
    assert decisions(report)[-1] in {("standard", False), ("flex", False)}  # that with standard where flex refuses
    answers = {tier["tier"]: tier["attempts"] for tier in report["cost"]["by_tier"]}
    assert answers.keys() == {"batch", "standard"}
    assert answers["batch"] + answers["standard"] == 100
    check(shell, server, report, 100)
    text = shell.call("report", "label").stdout
    assert "Schedule    due" in text
    assert "batches cancelled" in text


@pytest.mark.slow
@pytest.mark.parametrize("moment", [1.5, 4.0, 9.0])
def test_killed_the_same_command_goes_on_towards_the_same_deadline(moment: float, shell: Shell, serve: Serve) -> None:
    never = tuple(BatchFault(kind="never", nth=nth) for nth in range(3, 20))
    server = serve(scenario(BUSY, batch=never))
    seen_before(shell, server)
    shell.write("in.jsonl", tickets(100))
    line = ["run", "label", "--input", "in.jsonl", "--base-url", server.base_url, "--quiet", *FLAGS]
    process = shell.start(*line, "--deadline", "30s")
    time.sleep(moment)
    process.kill()
    process.communicate()
    report = shell.run("--input", "in.jsonl", *FLAGS, "--deadline", "30s", url=server.base_url)
    assert report["wall_s"] < 30 - moment + 1
    assert decisions(report)[-1] == ("standard", False)
    check(shell, server, report, 100, killed=True)


@pytest.mark.slow
def test_killed_in_the_live_tail_the_same_command_finishes_in_time_and_pays_nothing_again(
    shell: Shell, serve: Serve
) -> None:
    never = tuple(BatchFault(kind="never", nth=nth) for nth in range(3, 60))
    server = serve(scenario(BUSY, batch=never, per_s=10))
    seen_before(shell, server)
    shell.write("in.jsonl", tickets(150))
    line = ["run", "label", "--input", "in.jsonl", "--base-url", server.base_url, "--quiet", *FLAGS]
    process = shell.start(*line, "--deadline", "50s")
    cancelled, give_up = 0, time.monotonic() + 60
    while time.monotonic() < give_up:  # some rows were asked to see how fast that is: look for more, after the batches
        time.sleep(0.02)
        cancelled = sum(batch.timeline.cancelled_at is not None for batch in server.batches.batches.values())
        if cancelled and server.account.by_tier["default"].paid > 20:
            break
    process.kill()
    process.communicate()
    assert cancelled
    before = server.account.by_tier["default"].paid
    assert before < 140
    report = shell.run("--input", "in.jsonl", *FLAGS, "--deadline", "50s", url=server.base_url)
    check(shell, server, report, 150, killed=True)
    twice = server.account.by_tier["default"].paid - 150
    assert 0 <= twice <= 16  # what was in flight
    assert report["rows"]["reused"] >= before - 16
    assert (report["schedule"]["paid_twice"], report["schedule"]["may_be_paid_twice"]) == (0, 0)


@pytest.mark.slow
def test_what_is_paid_twice_because_cancelling_took_too_long_is_bounded_and_counted(shell: Shell, serve: Serve) -> None:
    slow = tuple(BatchFault(kind="slow", nth=nth, factor=40) for nth in range(3, 40))
    server = serve(scenario(BUSY, batch=slow, cancelling_s=1_200))
    seen_before(shell, server)
    shell.write("in.jsonl", tickets(100))
    args = ("--input", "in.jsonl", *FLAGS, "--deadline", "25s")
    first = shell.run(*args, url=server.base_url)["schedule"]
    assert first["met"]
    most = first["paid_twice"] + first["may_be_paid_twice"]
    assert most > 0
    give_up = time.monotonic() + 30
    while any(batch.live(server.batches._clock()) for batch in server.batches.batches.values()):
        assert time.monotonic() < give_up
        time.sleep(0.1)
    report = shell.run(*args, url=server.base_url)
    twice = settled(server).account.by_tier["batch"].paid - 40
    assert report["rows"] == {**report["rows"], "reused": 100}
    assert 0 < first["paid_twice"] + report["schedule"]["paid_twice"] == twice <= most
    assert report["schedule"]["may_be_paid_twice"] == 0
    if not first["paid_twice"]:
        assert report["schedule"]["paid_twice_usd"] == pytest.approx(report["cost"]["total_usd"])
        assert report["schedule"]["discount_usd"] == pytest.approx(-report["cost"]["total_usd"])


@pytest.mark.slow
def test_a_budget_holds_through_flex_batches_and_standard_calls(shell: Shell, serve: Serve) -> None:
    never = tuple(BatchFault(kind="never", nth=nth) for nth in range(4, 60))
    server = serve(scenario(Fault(kind="flex_unavailable", match="number 1"), batch=never))
    small = ("--set", "request.params={max_completion_tokens=40}")
    seen_before(shell, server, *small)
    before = spent(shell)
    shell.write("in.jsonl", tickets(200))
    args = ("--base-url", server.base_url, "--input", "in.jsonl", *FLAGS, *small, "--deadline", "25s")
    made = shell.call("run", "label", *args, "--budget", "0.02", expect=4)
    assert "Stopped at the budget: " in made.stdout
    assert "of a budget of $0.02" in made.stdout
    assert "budget reached" in made.stderr
    report = orjson.loads((shell.folder / "results/label/report.json").read_bytes())
    assert {tier["tier"] for tier in report["cost"]["by_tier"]} == {"flex", "batch", "standard"}
    assert (report["status"], report["rows"]["failed"]) == ("budget_reached", 0)
    assert report["rows"]["pending"] > 0
    assert 0.015 < report["cost"]["total_usd"] <= 0.02
    assert spent(shell) - before <= Decimal("0.02")
    report = shell.run(*args[2:-1], "30s", "--budget", "1", url=server.base_url)
    assert report["rows"]["done"] + report["rows"]["reused"] == 200
    assert settled(server).account.total.paid == 240


def test_an_interrupt_leaves_batches_and_says_so(shell: Shell, serve: Serve) -> None:
    server = serve(scenario(BUSY, speed=1))
    shell.write("in.jsonl", tickets(60))
    line = ["run", "label", "--input", "in.jsonl", "--base-url", server.base_url, *FLAGS, *DEAR_FLEX]
    process = shell.start(*line, "--deadline", "20h")
    give_up = time.monotonic() + 40
    while len(server.batches.batches) < 3 and time.monotonic() < give_up:
        time.sleep(0.05)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=40)
    assert process.returncode == 130
    assert "still running and billing" in err
    report = orjson.loads((shell.folder / "results/label/report.json").read_bytes())
    assert decisions(report)[-1] == ("batch", False)


@pytest.mark.slow
def test_left_alone_it_says_by_when_to_come_back(shell: Shell, serve: Serve) -> None:
    server = serve(scenario(BUSY, median_s=200))
    seen_before(shell, server)
    shell.write("in.jsonl", tickets(60))
    args = ("--input", "in.jsonl", *FLAGS, "--deadline", "60s", "--detach")
    report = shell.run(*args, url=server.base_url)
    assert (report["status"], report["exit_code"], report["schedule"]["met"]) == ("waiting", 0, False)
    assert "at the latest at" in " ".join(report["notes"])
    time.sleep(2.5)
    report = shell.run(*args, url=server.base_url)
    assert report["status"] == "finished"
    check(shell, server, report, 60)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--tier", "auto", "--set", "provider.like=openai"), "--tier auto needs a deadline"),
        (("--tier", "auto", "--deadline", "8h"), "would let it answer by tier auto"),
        (("--tier", "auto", "--deadline", "soon", "--set", "provider.like=openai"), "'soon' is no duration"),
    ],
)
def test_mistakes_are_refused_before_anything_is_sent(flags: tuple[str, ...], words: str, shell: Shell) -> None:
    shell.write("in.jsonl", tickets(2))
    made = shell.call("run", "label", "--input", "in.jsonl", "--base-url", "http://127.0.0.1:9/v1", *flags, expect=2)
    assert words in made.stderr


def test_a_plan_shows_the_schedule_beforehand(shell: Shell) -> None:
    shell.write("in.jsonl", tickets(600))
    line = ("plan", "label", "--input", "in.jsonl", "--base-url", "http://127.0.0.1:9/v1", *FLAGS, "--deadline", "8h")
    unknown = orjson.loads(shell.call(*line, "--json").stdout)["schedule"]
    assert (unknown["first"], unknown["rows_per_s"], unknown["batches_until"]) == ("flex", None, None)
    words = shell.call(*line, "--set", "limits.requests_per_minute=60", *DEAR_FLEX).stdout
    assert "tier auto, priced at standard" in words
    assert "batch first: none has been seen yet" in words
    assert "batches until 20" in words
    assert "at the latest, then standard" in words
