"""Real brokers, once for all tests of the package, with queues of their own for each test."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pytest

from llmbatch.intake import Broker, Fate, Message, Queues, Settlement, address_of, open_broker
from tests.cli.conftest import serve, shell
from tests.counterparts.aws import CREDENTIALS, moto
from tests.counterparts.rabbitmq import Rabbit
from tests.counterparts.redis import Redis

__all__ = ["serve", "shell"]

KINDS = ("memory", "amqp", "redis", "sqs")
_numbers = count(1)


@dataclass
class Place:
    """A broker that runs, and how to reach it."""

    kind: str
    url: str
    env: dict[str, str]
    server: Rabbit | Redis | None = None
    running: ExitStack | None = None

    def queues(self, *, replies: bool = True) -> Queues:
        """Names that no other test uses."""
        number = next(_numbers)
        return Queues(f"rows-{number}", f"rows-{number}-dead", f"rows-{number}-replies" if replies else None)

    def broker(self, queues: Queues, *, lease_s: float = 30.0, create: bool = True) -> Broker:
        return open_broker(address_of(self.url), queues, lease_s=lease_s, create=create)

    def drained(self, queues: Queues, name: str) -> list[bytes]:
        """What is in a queue, taken out of it."""
        return [message.body for message in self.taken(queues, name)]

    def taken(self, queues: Queues, name: str) -> list[Message]:
        broker = self.broker(Queues(name, queues.dead))
        broker.connect()
        found = []
        while batch := broker.receive(1_000, 0, 0.3):
            broker.settle([Settlement(message, Fate.DONE) for message in batch])
            found += batch
        broker.close()
        return found


@pytest.fixture(scope="session")
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Place]]:
    with ExitStack() as stack:
        yield _Started(stack, tmp_path_factory.mktemp("brokers"))


class _Started(dict[str, Place]):
    """Starts a broker when it is first asked for."""

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        super().__init__()
        self._stack, self._folder = stack, folder

    def __missing__(self, kind: str) -> Place:
        self[kind] = place = self._start(kind)
        return place

    def _start(self, kind: str) -> Place:
        if kind == "memory":
            return Place(kind, "memory://here", {})
        if kind == "sqs":
            url = self._stack.enter_context(moto(self._folder / "aws"))
            return Place(kind, "sqs://eu-west-1", {**CREDENTIALS, "AWS_ENDPOINT_URL": url})
        server = Rabbit(self._folder / "rabbit") if kind == "amqp" else Redis(self._folder / "redis")
        running = self._stack.enter_context(ExitStack())
        running.enter_context(server.serving())
        return Place(kind, server.url, {}, server, running)


@pytest.fixture(params=KINDS)
def place(request: pytest.FixtureRequest, places: dict[str, Place], monkeypatch: pytest.MonkeyPatch) -> Place:
    found = places[request.param]
    for name, value in found.env.items():
        monkeypatch.setenv(name, value)
    return found
