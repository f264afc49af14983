"""A worker within this process, on queues in memory: what becomes of messages whose rows go wrong."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path
from threading import Timer
from typing import Any

import orjson
import pytest

from llmbatch.cli import shift as shifts
from llmbatch.cli.shift import Shift, work
from llmbatch.errors import Exit, UsageError
from llmbatch.intake import Address, Message, Queues, Settlement, address_of, open_broker
from llmbatch.intake.brokers.memory import MemoryBroker
from llmbatch.simulator import Fault, Latency, Scenario, Server, Simulator
from tests.cli.conftest import Serve, tickets

_numbers = count(1)
TOML = """\
[request]
model = "m-1"
params = {{ max_completion_tokens = 200 }}
[input]
id = "id"
require = ["text"]
[provider]
base_url = "{url}"
[limits]
concurrency = 8
timeout_s = 5
max_attempts = 2
[prices."m-1"]
input = 1.0
output = 1.0
"""
SCHEMA = '{"type": "object", "properties": {"summary": {"type": "string"}}, "required": ["summary"]}'


class Bench:
    """A worker's order, its queues and what came of it."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder
        pipeline = folder / "label"
        pipeline.mkdir()
        (pipeline / "pipeline.toml").write_text(TOML.format(url=url))
        (pipeline / "prompt.j2").write_text("Summarise: {{ text }}")
        (pipeline / "schema.json").write_text(SCHEMA)
        self.queues = Queues("rows", "rows-dead", "replies")
        self.order = Shift(
            pipeline=pipeline, address=address_of(f"memory://test-{next(_numbers)}"), queue="rows", dead=None,
            replies="replies", create=True, max_deliveries=3, lease_s=5.0, output=folder / "out", roll_s=600.0,
            roll_bytes=2**20, ledger=folder / "l.duckdb", overrides=(), prices=None, idle_s=0.5, limit=None, json=False,
            quiet=True,
        )  # fmt: skip

    def put(self, *bodies: bytes) -> None:
        broker = open_broker(self.order.address, self.queues, lease_s=5.0, create=True)
        broker.send([(f"m{n}", body) for n, body in enumerate(bodies)])

    def work(self, **changed: Any) -> int:
        return work(replace(self.order, **changed))

    def taken(self, queue: str) -> list[Message]:
        broker = open_broker(self.order.address, Queues(queue, "unused"), lease_s=5.0, create=True)
        return broker.receive(10_000, 0, 0.0)

    def replies(self) -> list[dict[str, Any]]:
        return [orjson.loads(message.body) for message in self.taken("replies")]

    def report(self) -> dict[str, Any]:
        (path,) = (self.folder / "out").glob("report-*.json")
        report: dict[str, Any] = orjson.loads(path.read_bytes())
        path.unlink()
        return report


def bodies(rows: list[dict[str, Any]]) -> list[bytes]:
    return [orjson.dumps(row) for row in rows]


def test_the_same_row_in_many_messages_is_paid_once_and_answered_each_time(
    tmp_path: Path,
    serve: Serve,
) -> None:
    server = serve(Scenario(server=Server(brain="echo")))
    bench = Bench(tmp_path, server.base_url)
    rows = [{"id": f"r{n}", "text": f"text {n % 3}"} for n in range(60)]
    bench.put(*bodies(rows))
    assert bench.work() == Exit.OK
    assert server.account.total.requests == 3
    replies = bench.replies()
    assert Counter(reply["id"] for reply in replies) == Counter(row["id"] for row in rows)
    assert len({reply["llmbatch_message_id"] for reply in replies}) == 60
    assert sum(reply["llmbatch_cost_usd"] > 0 for reply in replies) == 3
    assert bench.taken("rows") == []


def test_a_server_that_fails_for_now_is_tried_again_and_then_a_dead_letter(
    tmp_path: Path,
    serve: Serve,
) -> None:
    server = serve(
        Scenario(server=Server(brain="echo"), fault=(Fault(kind="reset_before", share=1.0, match="number 3:"),))
    )
    bench = Bench(tmp_path, server.base_url)
    bench.put(*bodies(tickets(5)))
    assert bench.work() == Exit.OK
    (letter,) = bench.taken("rows-dead")
    assert orjson.loads(letter.body)["id"] == "r3"
    assert (letter.reason or "").startswith("connection: ")
    report = bench.report()
    assert report["failures"] == {"connection": 3}, "once a delivery"
    assert Counter(reply["llmbatch_status"] for reply in bench.replies()) == Counter(done=4, failed=1)


def test_an_answer_that_stays_invalid_is_a_dead_letter_at_once(tmp_path: Path, serve: Serve) -> None:
    server = serve(
        Scenario(server=Server(brain="echo"), fault=(Fault(kind="ignore_schema", share=1.0, match="number 3:"),))
    )
    bench = Bench(tmp_path, server.base_url)
    bench.put(*bodies(tickets(5)))
    assert bench.work() == Exit.OK
    (letter,) = bench.taken("rows-dead")
    assert (letter.reason or "").startswith("not_json: ")
    assert bench.report()["failures"] == {"not_json": 1}


def test_a_spent_budget_gives_messages_back_and_holds_for_the_day(tmp_path: Path, serve: Serve) -> None:
    server = serve(Scenario(server=Server(brain="echo")))
    bench = Bench(tmp_path, server.base_url)
    bench.put(*bodies(tickets(200)))
    capped = ("limits.budget_usd=0.005",)
    assert bench.work(overrides=capped) == Exit.BUDGET
    first = bench.report()
    assert 0 < first["rows"]["done"] < 200
    assert bench.work(overrides=capped) == Exit.BUDGET
    second = bench.report()
    assert second["rows"]["done"] <= 2, "the day's budget is spent, whoever starts the worker again"
    assert float(first["cost"]["total_usd"]) + float(second["cost"]["total_usd"]) <= 0.005
    back = bench.taken("rows")
    assert len(back) == 200 - first["rows"]["done"] - second["rows"]["done"]
    assert {message.deliveries for message in back} == {1}, "what was given back does not count"
    assert bench.taken("rows-dead") == []


def test_a_column_of_the_results_name_is_a_dead_letter(tmp_path: Path, serve: Serve) -> None:
    bench = Bench(tmp_path, serve(Scenario(server=Server(brain="echo"))).base_url)
    bench.put(orjson.dumps({"id": "r0", "text": "t", "summary": "mine"}))
    assert bench.work() == Exit.OK
    (letter,) = bench.taken("rows-dead")
    assert "[output] prefix" in (letter.reason or "")


def test_it_stops_after_so_many_messages(tmp_path: Path, serve: Serve) -> None:
    bench = Bench(tmp_path, serve(Scenario(server=Server(brain="echo"))).base_url)
    bench.put(*bodies(tickets(50)))
    assert bench.work(limit=20, idle_s=None) == Exit.OK
    assert len(bench.replies()) == 20
    assert len(bench.taken("rows")) == 30


def test_a_message_that_has_its_result_already_counts_as_taken(tmp_path: Path, serve: Serve) -> None:
    bench = Bench(tmp_path, serve(Scenario(server=Server(brain="echo"))).base_url)
    bench.put(*bodies(tickets(1)))
    lost = open_broker(bench.order.address, bench.queues, lease_s=5.0, create=True)
    assert lost.receive(1, 0, 0.0)
    lost.close()
    (tmp_path / "out").mkdir()
    facts = {"llmbatch_message_id": "m0", "llmbatch_status": "done", "llmbatch_error": None}
    (tmp_path / "out/results-9-00001.jsonl").write_bytes(orjson.dumps(facts) + b"\n")
    patience = Timer(20, os.kill, (os.getpid(), signal.SIGTERM))  # a worker that hangs fails here, and does not hang
    patience.start()
    assert bench.work(limit=1, idle_s=None, replies=None) == Exit.OK
    patience.cancel()
    report = bench.report()
    assert report["attempts"]["sent"] == 0
    assert report["notes"][0] == "1 messages were taken"


def test_a_message_that_is_not_counted_is_answered_only_after_it_went_back_and_not_if_it_has_its_result(
    tmp_path: Path, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(tmp_path, serve(Scenario(server=Server(brain="echo"))).base_url)
    bench.put(*bodies(tickets(2)))
    facts = {"llmbatch_message_id": "m0", "llmbatch_status": "done", "llmbatch_error": None}
    (tmp_path / "out").mkdir()
    (tmp_path / "out/results-9-00001.jsonl").write_bytes(orjson.dumps(facts) + b"\n")
    uncounted = _Uncounted(bench.order.address, bench.queues)
    monkeypatch.setattr(shifts, "open_broker", lambda *_, **__: uncounted)
    assert bench.work(replies=None) == Exit.OK
    assert uncounted.fates == [("m0", "done"), ("m1", "back"), ("m1", "done")]
    assert bench.report()["attempts"]["sent"] == 1


class _Uncounted(MemoryBroker):
    """Delivers each message first as one that another worker had, as RabbitMQ does."""

    def __init__(self, address: Address, queues: Queues) -> None:
        super().__init__(address, queues)
        self.fates: list[tuple[str, str]] = []

    def receive(self, target: int, held: int, wait_s: float) -> list[Message]:
        back = {name for name, fate in self.fates if fate == "back"}
        found = super().receive(target, held, wait_s)
        return [m if m.id in back else replace(m, deliveries=m.deliveries + 1, counted=False) for m in found]

    def settle(self, batch: Sequence[Settlement]) -> bool:
        self.fates += [(each.message.id, str(each.fate)) for each in batch]
        return super().settle(batch)


def test_what_came_by_a_connection_that_is_lost_is_not_written(
    tmp_path: Path, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve(Scenario(server=Server(brain="echo"), latency=Latency(median_ms=2_000)))
    bench = Bench(tmp_path, server.base_url)
    bench.put(*bodies(tickets(8)))
    falling = _Falling(bench.order.address, bench.queues)
    monkeypatch.setattr(shifts, "open_broker", lambda *_, **__: falling)
    assert bench.work(replies=None) == Exit.OK
    assert falling.fell
    lines = [line for path in (tmp_path / "out").glob("results-*.jsonl") for line in path.read_bytes().splitlines()]
    assert Counter(orjson.loads(line)["id"] for line in lines) == Counter(row["id"] for row in tickets(8))
    assert server.account.total.paid == 8


class _Falling(MemoryBroker):
    """Loses its connection once, while everything is being answered; its messages come again, as RabbitMQ's do."""

    faults = (ConnectionError,)
    fell = False

    def extend(self, messages: Sequence[Message]) -> None:
        self._fall()
        super().extend(messages)

    def receive(self, target: int, held: int, wait_s: float) -> list[Message]:
        self._fall()
        return super().receive(target, held, wait_s)

    def _fall(self) -> None:
        if self._held and not self.fell:
            time.sleep(0.2)
            self.fell = True
            self.close()
            raise ConnectionError


def test_a_worker_that_is_told_to_end_does_not_wait_for_a_broker_that_is_away(
    tmp_path: Path, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(tmp_path, serve(Scenario(server=Server(brain="echo"))).base_url)
    bench.put(*bodies(tickets(3)))
    away = _Away(bench.order.address, bench.queues)
    monkeypatch.setattr(shifts, "open_broker", lambda *_, **__: away)
    assert bench.work(idle_s=None) == Exit.OK
    assert away.tries is not None
    assert 0 < away.tries < _TRIES
    assert len(bench.taken("rows")) == 3


_TRIES = 5


class _Away(MemoryBroker):
    """Is away when it is to settle for the first time, which is when its worker is told to end; back after five tries.

    So a worker that waits for it is seen to, and does not hang.
    """

    faults = (ConnectionError,)
    lease_s = 30.0
    tries: int | None = None

    def settle(self, batch: Sequence[Settlement]) -> bool:
        if self.tries is None:
            self.tries = 0
            os.kill(os.getpid(), signal.SIGTERM)
            raise ConnectionError
        return super().settle(batch)

    def connect(self) -> None:
        if self.tries is not None:
            self.tries += 1
            if self.tries < _TRIES:
                raise ConnectionError


def days_of(seconds: int, serve: Serve, monkeypatch: pytest.MonkeyPatch) -> Simulator:
    """A model that takes its time, in a world whose days are short."""
    monkeypatch.setattr(shifts, "_DAY_S", seconds)
    return serve(Scenario(server=Server(brain="echo"), latency=Latency(median_ms=400)))


def test_a_broker_that_is_away_when_a_day_begins_is_waited_for(
    tmp_path: Path, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(tmp_path, days_of(2, serve, monkeypatch).base_url)
    bench.put(*bodies(tickets(5)))
    night = _AwayAtMidnight(bench.order.address, bench.queues, bodies(tickets(10)[5:]))
    monkeypatch.setattr(shifts, "open_broker", lambda *_, **__: night)
    assert bench.work(idle_s=None, limit=10, overrides=("limits.concurrency=1",)) == Exit.OK
    assert night.tried[:4] == ["there", "away", "away", "there"], "once at the start"
    assert sorted(reply["id"] for reply in bench.replies()) == [f"r{n}" for n in range(10)]


class _AwayAtMidnight(MemoryBroker):
    """Is away for two tries after the first day's connection, and has more messages then."""

    faults = (ConnectionError,)

    def __init__(self, address: Address, queues: Queues, later: list[bytes]) -> None:
        super().__init__(address, queues)
        self.tried: list[str] = []
        self._later = later

    def connect(self) -> None:
        self.tried.append("away" if 1 <= len(self.tried) <= 2 else "there")
        if self.tried[-1] == "away":
            raise ConnectionError
        if len(self.tried) == 4:
            self.send([(f"later{n}", body) for n, body in enumerate(self._later)])


def test_a_ledgers_name_that_duckdb_takes_for_an_address_is_a_mistake(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "http://127.0.0.1:9/v1")
    with pytest.raises(UsageError, match="DuckDB takes no such file name"):
        bench.work(ledger=Path("md:mine"))


@pytest.mark.slow
def test_a_day_ends_with_its_report_and_the_next_begins(
    tmp_path: Path, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = days_of(3, serve, monkeypatch)
    bench = Bench(tmp_path, server.base_url)
    bench.put(*bodies(tickets(80)))
    assert bench.work() == Exit.OK
    assert Counter(reply["id"] for reply in bench.replies()) == Counter(row["id"] for row in tickets(80))
    reports = [orjson.loads(path.read_bytes()) for path in (tmp_path / "out").glob("report-*.json")]
    assert len(reports) > 1
    assert sum(report["rows"]["done"] for report in reports) == 80
    assert server.account.total.paid == 80
