"""The worker as a process of its own: real brokers, a simulator for a provider, kills."""

from __future__ import annotations

import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any

import orjson
import pytest

from llmbatch.intake import Queues
from llmbatch.simulator import Scenario
from llmbatch.simulator.scenario import Latency
from tests.cli.conftest import Serve, Shell, tickets
from tests.counterparts.redis import PASSWORD
from tests.intake.conftest import Place

AMQP = pytest.mark.parametrize("place", ["amqp"], indirect=True)
REDIS = pytest.mark.parametrize("place", ["redis"], indirect=True)
REAL = pytest.mark.parametrize("place", ["amqp", "redis", "sqs"], indirect=True)
FIRST = pytest.mark.parametrize(
    "place",
    ["amqp", pytest.param("redis", marks=pytest.mark.slow), pytest.param("sqs", marks=pytest.mark.slow)],
    indirect=True,
)
KILLS = 1
NOT_JSON, NO_OBJECT, NO_TEXT = b"{not json", b"[1, 2]", b'{"id": "x1"}'


class Desk:
    """A pipeline, a broker, and what came out."""

    def __init__(self, shell: Shell, place: Place, url: str) -> None:
        self.shell, self.place, self.url = shell, place, url
        self.queues = place.queues(replies=False)
        shell.env |= place.env | {"LLMBATCH_BROKER": place.url}
        self.folder = shell.folder / "results/label-worker"

    def enqueue(self, rows: list[dict[str, Any]]) -> None:
        self.shell.write("rows.jsonl", rows)
        done = self.shell.call("enqueue", "label", "--input", "rows.jsonl", "--queue", self.queues.rows, "--create")
        assert f"{len(rows):,} rows are in the queue" in done.stdout

    def put(self, *bodies: bytes) -> None:
        """What other programs put in."""
        broker = self.place.broker(self.queues)
        broker.connect()
        broker.send([(f"odd-{n}", body) for n, body in enumerate(bodies)])
        broker.close()

    def words(self, *more: object) -> tuple[object, ...]:
        where = ("--queue", self.queues.rows, "--base-url", self.url)
        return ("worker", "label", *where, "--stop-when-empty", "1s", "--lease", "2s", "--create", "--quiet", *more)

    def work(self, *more: object, expect: int = 0) -> dict[str, Any]:
        done = self.shell.call(*self.words("--json", *more), expect=expect)
        report: dict[str, Any] = orjson.loads(done.stdout)
        return report

    def lines(self) -> list[dict[str, Any]]:
        found = [orjson.loads(line) for path in self.files("*.jsonl") for line in path.read_bytes().splitlines()]
        assert not self.files("*.part")
        return found

    def files(self, pattern: str = "*") -> list[Path]:
        return sorted(self.folder.glob(f"results-{pattern}"))

    def dead(self) -> list[bytes]:
        return self.place.drained(self.queues, self.queues.dead)


@pytest.fixture
def desk(shell: Shell, place: Place, serve: Serve) -> Desk:
    return Desk(shell, place, serve(Scenario(latency=Latency(median_ms=100))).base_url)


@pytest.mark.slow
@REAL
def test_rows_become_results_and_poison_dead_letters(desk: Desk) -> None:
    desk.enqueue(tickets(40))
    desk.put(NOT_JSON, NO_OBJECT, NO_TEXT)
    report = desk.work()
    assert report["rows"] == {"total": 43, "done": 40, "reused": 0, "failed": 0, "skipped": 3, "pending": 0}
    lines = desk.lines()
    assert sorted(line["id"] for line in lines if line["llmbatch_status"] == "done") == sorted(
        row["id"] for row in tickets(40)
    )
    assert all(line["summary"] for line in lines if line["llmbatch_status"] == "done")
    assert sorted(line["llmbatch_error"].split(": ")[0] for line in lines if line["llmbatch_error"]) == ["bad_row"] * 3
    assert Counter(desk.dead()) == Counter([NOT_JSON, NO_OBJECT, NO_TEXT])
    desk.enqueue(tickets(5))
    again = desk.work()
    assert again["rows"]["reused"] == 5, "the ledger answers"
    assert again["attempts"]["sent"] == 0


@FIRST
def test_a_killed_worker_loses_nothing_and_pays_twice_for_what_was_in_flight(desk: Desk) -> None:
    desk.enqueue(tickets(80))
    desk.put(NOT_JSON)
    for n in range(KILLS):
        process = desk.shell.start(*desk.words("--concurrency", "8"))
        _until(lambda: process.poll() is not None or len(desk.files()) > n)  # noqa: B023
        time.sleep(0.1)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    desk.work("--concurrency", "8")
    answered = [line["id"] for line in desk.lines() if line["llmbatch_status"] in ("done", "reused")]
    assert Counter(answered) == Counter(row["id"] for row in tickets(80))
    assert desk.dead() == [NOT_JSON]
    sent = _sent(desk)
    assert 80 <= sent <= 80 + KILLS * 8


@pytest.mark.slow
@pytest.mark.parametrize("place", ["amqp", "redis"], indirect=True)
def test_a_killed_worker_replies_once(desk: Desk) -> None:
    replies = Queues(f"{desk.queues.rows}-replies", "unused")
    desk.enqueue(tickets(200))
    for _ in range(3):
        process = desk.shell.start(*desk.words("--concurrency", "16", "--replies", replies.rows))
        _until(lambda: process.poll() is not None or _answers(desk) > 0, 60)  # noqa: B023
        time.sleep(0.3)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    desk.work("--replies", replies.rows)
    found = [orjson.loads(body)["id"] for body in _taken(desk, replies)]
    assert Counter(found) == Counter(row["id"] for row in tickets(200))


def _answers(desk: Desk) -> int:
    """Of the run that is under way."""
    status = desk.shell.folder / ".llmbatch/label-worker.status.json"
    facts: dict[str, Any] = orjson.loads(status.read_bytes()) if status.exists() else {"state": "none"}
    return int(facts["rows"]["done"]) if facts["state"] == "running" else 0


def _taken(desk: Desk, replies: Queues) -> list[bytes]:
    if desk.place.kind != "redis":
        return desk.place.drained(replies, replies.rows)
    import redis

    client: Any = redis.Redis.from_url(desk.place.url)
    found = [fields[b"result"] for _, fields in client.xrange(replies.rows)]
    client.close()
    return found


def _sent(desk: Desk) -> int:
    import duckdb

    with duckdb.connect(str(desk.shell.folder / ".llmbatch/label-worker.duckdb"), read_only=True) as con:
        (answered,) = con.execute("select count(*) from attempts where outcome = 'answered'").fetchone() or (0,)
    return int(answered)


def _until(true: Any, patience_s: float = 30.0) -> None:
    give_up = time.monotonic() + patience_s
    while not true():
        assert time.monotonic() < give_up
        time.sleep(0.02)


@pytest.mark.slow
@AMQP
def test_sigterm_drains_and_gives_the_rest_back(desk: Desk) -> None:
    desk.enqueue(tickets(120))
    process = desk.shell.start(*desk.words("--concurrency", "8", "--json"))
    _until(lambda: process.poll() is not None or desk.files())
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    first = orjson.loads(out)["rows"]
    assert first["done"] == len(desk.lines()) < 120
    second = desk.work("--concurrency", "16")["rows"]
    assert first["done"] + second["done"] == 120
    assert second["reused"] == 0
    assert Counter(line["id"] for line in desk.lines()) == Counter(row["id"] for row in tickets(120))


@pytest.mark.slow
@AMQP
def test_a_row_that_ends_the_worker_is_a_dead_letter_and_takes_no_other_with_it(desk: Desk) -> None:
    (desk.shell.pipeline / "hooks.py").write_text(
        'import os\n\n\ndef check(output, row):\n    if row["id"] == "r7":\n        os._exit(9)\n    return []\n'
    )
    desk.enqueue(tickets(30))
    deaths = 0
    while desk.shell.call(*desk.words("--max-deliveries", "3"), expect=None).returncode == 9:
        deaths += 1
    assert deaths == 3
    (letter,) = desk.place.taken(desk.queues, desk.queues.dead)
    assert orjson.loads(letter.body)["id"] == "r7"
    assert "delivered 4 times" in (letter.reason or "")
    assert Counter(line["id"] for line in desk.lines() if line["llmbatch_status"] != "skipped") == Counter(
        row["id"] for row in tickets(30) if row["id"] != "r7"
    )


@pytest.mark.slow
@pytest.mark.parametrize("place", ["amqp", "redis"], indirect=True)
def test_a_broker_that_is_restarted_loses_nothing(desk: Desk) -> None:
    place = desk.place
    assert place.server is not None
    assert place.running is not None
    desk.enqueue(tickets(200))
    process = desk.shell.start(*desk.words("--concurrency", "8", "--stop-when-empty", "6s", "--json"))
    _until(lambda: process.poll() is not None or desk.files())
    place.running.close()
    time.sleep(1.0)
    place.running.enter_context(place.server.serving())
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    report = orjson.loads(out)
    assert report["attempts"]["sent"] == 200, "nothing is paid twice"
    assert Counter(line["id"] for line in desk.lines()) == Counter(row["id"] for row in tickets(200))


@pytest.mark.slow
@REDIS
def test_the_password_is_nowhere(desk: Desk) -> None:
    desk.enqueue(tickets(2))
    done = desk.shell.call(*desk.words("--broker", desk.place.url, "--json"))
    wrong = desk.place.url.replace(PASSWORD, "wrong-horse-battery")
    refused = desk.shell.call(*desk.words("--broker", wrong), expect=2)
    assert "127.0.0.1" in refused.stderr
    gone = desk.shell.call(*desk.words("--broker", wrong.rpartition(":")[0] + ":1/0"), expect=2)
    assert "does not answer" in gone.stderr
    broken = desk.shell.call(*desk.words("--broker", wrong.replace("redis:", "reddis:")), expect=2)
    said = [text for call in (done, refused, gone, broken) for text in (call.stdout, call.stderr)]
    kept = [path.read_bytes() for path in desk.shell.folder.rglob("*") if path.is_file()]
    for secret in (PASSWORD, "wrong-horse-battery"):
        assert not [text for text in said if secret in text]
        assert not [text for text in kept if secret.encode() in text]
