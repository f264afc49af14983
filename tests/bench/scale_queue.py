"""Workers on real queues, killed again and again: RabbitMQ, Redis, and SQS by moto.

    python -m tests.bench.scale_queue [--messages 20000] [--kills 10] [--brokers amqp,redis,sqs]

A worker with 64 calls in flight answers messages by a simulator with 50 ms latency. Each time another part of the
messages is answered it is killed with ``kill -9`` and started again. Two of the messages are poison: one is no JSON,
one ends whoever judges its answer.

It exits with 1 unless every message has exactly one result, what was paid twice is at most what was in flight at the
kills, and both poison messages are dead letters with their reasons.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import orjson

from llmbatch.intake import Queues, address_of, open_broker
from llmbatch.simulator import Scenario
from llmbatch.simulator.scenario import Latency
from tests.cli.conftest import Shell, serving, tickets
from tests.counterparts.aws import CREDENTIALS, moto
from tests.counterparts.rabbitmq import Rabbit
from tests.counterparts.redis import Redis

IN_FLIGHT = 64
LEASE_S = 5
DEATHS = 5  #: a message's deliveries, the worker's default
QUEUES = Queues("rows", "rows-dead")
NO_JSON, DEADLY = b"{no json", "deadly"
HOOKS = f'import os\n\n\ndef check(output, row):\n    if row["id"] == "{DEADLY}":\n        os._exit(9)\n    return []\n'


@dataclass
class Figures:
    """What one broker's campaign found."""

    broker: str
    messages: int
    kills: int
    enqueued_s: float
    worked_s: float
    lines: Counter[str]
    paid: int
    dead: dict[str, str]

    def faults(self) -> list[str]:
        """What was promised and not kept."""
        wanted = {f"r{n}" for n in range(self.messages)}
        found = [f"{len(wanted - self.lines.keys()):,} messages without a result"] if wanted - self.lines.keys() else []
        found += [f"{name}: {count} results" for name, count in self.lines.items() if count > 1][:5]
        if self.paid > self.messages + (self.kills + DEATHS) * IN_FLIGHT:
            found.append(f"{self.paid - self.messages:,} replies were paid twice")
        if set(self.dead) != {"no json", DEADLY}:
            found.append(f"dead letters: {self.dead}")
        return found

    def __str__(self) -> str:
        speed = self.messages / self.worked_s
        return (
            f"{self.broker:<6}{self.messages:>8,} messages {self.kills:>3} kills  enqueued in {self.enqueued_s:.1f} s  "
            f"answered in {self.worked_s:6.1f} s ({speed:,.0f}/s)  results {sum(self.lines.values()):,}, "
            f"twice {sum(count > 1 for count in self.lines.values())}  paid twice {self.paid - self.messages:,} "
            f"(at most {(self.kills + DEATHS) * IN_FLIGHT:,})\n       dead letters: {self.dead}"
        )


def main(argv: list[str] | None = None) -> int:
    """Run the campaign on each broker."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--messages", type=int, default=20_000)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--brokers", default="amqp,redis,sqs")
    options = parser.parse_args(argv)
    faults = []
    for name in options.brokers.split(","):
        figures = campaign(name, options.messages, options.kills)
        print(figures, flush=True)
        faults += [f"{name}: {fault}" for fault in figures.faults()]
    print("\n".join(faults) or "every promise kept")
    return bool(faults)


def campaign(name: str, messages: int, kills: int) -> Figures:
    """One broker's."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        shell = Shell(Path(folder))
        (shell.pipeline / "hooks.py").write_text(HOOKS)
        shell.env |= {"LLMBATCH_BROKER": _started(name, Path(folder) / "broker", stack, shell.env)}
        os.environ.update({key: value for key, value in shell.env.items() if key.startswith("AWS_")})
        simulator = stack.enter_context(serving(Scenario(latency=Latency(median_ms=50))))
        began = time.monotonic()
        shell.write("rows.jsonl", tickets(messages))
        entering = shell.start("enqueue", "label", "--input", "rows.jsonl", "--queue", QUEUES.rows, "--create")
        assert entering.wait() == 0, entering.stderr
        broker = open_broker(address_of(shell.env["LLMBATCH_BROKER"]), QUEUES, lease_s=LEASE_S, create=True)
        broker.connect()
        broker.send([("no-json", NO_JSON), (DEADLY, orjson.dumps({"id": DEADLY, "text": "ends its judge"}))])
        broker.close()
        enqueued_s, began = time.monotonic() - began, time.monotonic()
        killed = _work(shell, simulator.base_url, messages, kills)
        worked_s = time.monotonic() - began
        dead = _dead(shell.env["LLMBATCH_BROKER"])
        return Figures(
            name, messages, killed, enqueued_s, worked_s, _results(shell), simulator.account.total.paid - 1, dead
        )


def _started(name: str, folder: Path, stack: ExitStack, env: dict[str, str]) -> str:
    if name == "sqs":
        env |= {**CREDENTIALS, "AWS_ENDPOINT_URL": stack.enter_context(moto(folder, many=True))}
        return "sqs://eu-west-1"
    server = Rabbit(folder) if name == "amqp" else Redis(folder)
    stack.enter_context(server.serving())
    return server.url


def _work(shell: Shell, url: str, messages: int, kills: int) -> int:
    """Start workers until one finds the queue empty; kill them as their share is done. Returns the kills."""
    killed = 0
    while True:
        words = ("worker", "label", "--queue", QUEUES.rows, "--base-url", url, "--lease", f"{LEASE_S}s", "--quiet")
        process = shell.start(
            *words, "--concurrency", IN_FLIGHT, "--stop-when-empty", f"{2 * LEASE_S}s", stdout=subprocess.DEVNULL
        )
        while process.poll() is None:
            if killed < kills and _answered(shell) >= messages * (killed + 1) / (kills + 1):
                process.send_signal(signal.SIGKILL)
                killed += 1
                break
            time.sleep(0.05)
        _, err = process.communicate()
        if process.returncode not in (0, 9, -signal.SIGKILL):
            raise RuntimeError(f"the worker ended with {process.returncode}:\n{err}")
        if process.returncode == 0:
            return killed


def _files(shell: Shell) -> list[Path]:
    return list((shell.folder / "results/label-worker").glob("results-*.jsonl*"))


def _answered(shell: Shell) -> float:
    """Lines, by the length of the first."""
    size = sum(path.stat().st_size for path in _files(shell))
    first = next((line for path in _files(shell) if (line := path.open("rb").readline())), b"")
    return size / len(first) if first else 0.0


def _results(shell: Shell) -> Counter[str]:
    lines = (orjson.loads(line) for path in _files(shell) for line in path.read_bytes().splitlines())
    return Counter(line["id"] for line in lines if line["llmbatch_status"] in ("done", "reused"))


def _dead(url: str) -> dict[str, str]:
    """Reasons of dead letters, by what they are."""
    broker = open_broker(address_of(url), Queues(QUEUES.dead, "unused"), lease_s=LEASE_S, create=True)
    broker.connect()
    letters = broker.receive(100, 0, 2.0)
    broker.close()
    names = ["no json" if each.body == NO_JSON else str(orjson.loads(each.body)["id"]) for each in letters]
    return {name: each.reason or "" for name, each in zip(names, letters, strict=True)}


if __name__ == "__main__":
    sys.exit(main())
