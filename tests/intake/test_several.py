"""Several workers on one queue: what they share, and what each has of its own."""

from __future__ import annotations

import signal
import subprocess
import time
from collections import Counter
from decimal import Decimal

import orjson
import pytest

from llmbatch.simulator import Latency, Limits, Scenario, Server
from tests.cli.conftest import Serve, Shell, tickets
from tests.intake.conftest import Place
from tests.intake.test_worker import Desk

pytestmark = pytest.mark.slow  # three processes each
EACH = pytest.mark.parametrize("place", ["amqp", "redis"], indirect=True)
PER_MINUTE = 1_200
SHARE = ("--set", f"limits.requests_per_minute={PER_MINUTE}", "--set", "limits.share=0.5", "--concurrency", "4")


def begin(desk: Desk, name: str, *more: object) -> subprocess.Popen[str]:
    return desk.shell.start(*desk.words("--ledger", f"{name}.duckdb", "--stop-when-empty", "6s", "--json", *more))


@EACH
def test_the_others_take_what_a_killed_one_had_and_each_message_has_one_result(
    shell: Shell, place: Place, serve: Serve
) -> None:
    limits = Limits(requests_per_minute=PER_MINUTE, burst_s=2, headers=False)
    server = serve(Scenario(latency=Latency(median_ms=150), server=Server(brain="echo"), limits=limits))
    desk = Desk(shell, place, server.base_url)
    desk.enqueue(tickets(120))
    first, second = (begin(desk, name, *SHARE) for name in ("first", "second"))
    give_up = time.monotonic() + 90
    while len(desk.files()) < 2:  # both have written
        assert time.monotonic() < give_up
        time.sleep(0.02)
    refused = shell.call(*desk.words("--ledger", "second.duckdb"), expect=75)
    assert f"pid {second.pid}" in refused.stderr, "a ledger has one owner"
    first.send_signal(signal.SIGKILL)
    first.communicate()
    out, err = second.communicate(timeout=120)
    assert second.returncode == 0, err
    assert Counter(line["id"] for line in desk.lines()) == Counter(row["id"] for row in tickets(120))
    assert orjson.loads(out)["rows"]["done"] < 120
    total = server.account.total
    assert total.paid <= 120 + 4, "what was in flight is paid again"
    assert total.requests - total.paid <= 2, "each kept to its share: no 429s"


@pytest.mark.parametrize("place", ["amqp"], indirect=True)
def test_a_budget_holds_for_each(desk: Desk) -> None:
    desk.enqueue(tickets(200))
    budget = ("--budget", "0.001", "--set", "prices.m-1.input=1.0", "--set", "prices.m-1.output=1.0")
    workers = [begin(desk, name, "--concurrency", "4", *budget) for name in ("first", "second")]
    ended = [worker.communicate(timeout=120) for worker in workers]
    assert [worker.returncode for worker in workers] == [4, 4], ended
    reports = [orjson.loads(out) for out, _ in ended]
    assert all(Decimal(0) < Decimal(str(report["cost"]["total_usd"])) <= Decimal("0.001") for report in reports)
    left = desk.place.taken(desk.queues, desk.queues.rows)
    assert len(left) == 200 - sum(report["rows"]["done"] for report in reports) > 0


@pytest.fixture
def desk(shell: Shell, place: Place, serve: Serve) -> Desk:
    return Desk(shell, place, serve(Scenario(latency=Latency(median_ms=100))).base_url)
