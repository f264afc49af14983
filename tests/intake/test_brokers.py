"""What every broker promises, asked of real ones."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import boto3
import pytest
import redis

from llmbatch.errors import UsageError
from llmbatch.intake import Broker, Fate, Message, Queues, Settlement, address_of, open_broker
from tests.intake.conftest import Place

BODY = b'{"id": "r1", "text": "an invoice"}'


@pytest.fixture
def queues(place: Place) -> Queues:
    return place.queues()


@pytest.fixture
def broker(place: Place, queues: Queues) -> Iterator[Broker]:
    broker = place.broker(queues)
    broker.connect()
    yield broker
    broker.close()


def receive(broker: Broker, count: int, patience_s: float = 10.0) -> list[Message]:
    found: list[Message] = []
    give_up = time.monotonic() + patience_s
    while len(found) < count and time.monotonic() < give_up:
        found += broker.receive(count, len(found), 0.05)
    return found


def test_what_is_put_in_comes_out_once_with_its_id(broker: Broker) -> None:
    broker.send([(f"m{n}", BODY + b" " * n) for n in range(25)])
    found = receive(broker, 25)
    assert {message.id: message.body for message in found} == {f"m{n}": BODY + b" " * n for n in range(25)}
    assert {message.deliveries for message in found} == {1}
    assert broker.settle([Settlement(message, Fate.DONE) for message in found])
    assert not receive(broker, 1, 0.3)


def test_no_more_are_held_than_there_is_room_for(broker: Broker) -> None:
    broker.send([(f"m{n}", BODY) for n in range(25)])
    first = receive(broker, 10)
    assert len(first) == 10
    assert not broker.receive(10, 10, 0.05)
    assert len(broker.receive(12, 10, 1.0)) <= 2


def test_a_result_goes_with_its_acknowledgement(place: Place, queues: Queues, broker: Broker) -> None:
    broker.send([("m1", BODY)])
    (message,) = receive(broker, 1)
    broker.settle([Settlement(message, Fate.DONE, b'{"answer": 1}')])
    assert queues.replies is not None
    assert _results(place, queues) == [b'{"answer": 1}']


def test_a_dead_letter_keeps_the_message(place: Place, queues: Queues, broker: Broker) -> None:
    broker.send([("m1", b"no json")])
    (message,) = receive(broker, 1)
    broker.settle([Settlement(message, Fate.DEAD, b'{"error": 1}', "bad_row: no JSON")])
    assert _results(place, queues) == [b'{"error": 1}']
    letters = [(m.body, m.id, m.reason) for m in place.taken(queues, queues.dead)]
    assert letters == [(b"no json", "m1", "bad_row: no JSON")]
    assert not receive(broker, 1, 0.3)


def test_what_goes_back_is_not_counted(place: Place, broker: Broker) -> None:
    broker.send([("m1", BODY)])
    for _ in range(2):
        (message,) = receive(broker, 1)
        broker.settle([Settlement(message, Fate.BACK)])
    (message,) = receive(broker, 1)
    # SQS counts every receipt
    assert message.deliveries == 1


def test_a_message_of_a_lost_worker_comes_again_and_is_counted(place: Place, queues: Queues) -> None:
    lost = place.broker(queues, lease_s=1.0)
    lost.connect()
    lost.send([("m1", BODY)])
    assert receive(lost, 1)
    lost.close()
    other = place.broker(queues, lease_s=1.0)
    other.connect()
    (again,) = receive(other, 1)
    assert (again.id, again.body, again.deliveries) == ("m1", BODY, 2)
    other.settle([Settlement(again, Fate.DONE)])
    assert not receive(other, 1, 1.5)
    other.close()


@pytest.mark.parametrize("place", ["amqp"], indirect=True)
def test_rabbitmq_learns_the_count_of_a_message_when_it_goes_back(place: Place, queues: Queues) -> None:
    lost = place.broker(queues)
    lost.connect()
    lost.send([("m1", BODY), ("m2", BODY)])
    assert len(receive(lost, 2)) == 2
    lost.close()
    other = place.broker(queues)
    other.connect()
    first, second = receive(other, 2)
    assert [(m.id, m.deliveries, m.counted) for m in (first, second)] == [("m1", 2, False), ("m2", 2, False)]
    other.settle([Settlement(first, Fate.DONE), Settlement(second, Fate.BACK)])
    (again,) = receive(other, 1)
    assert (again.id, again.deliveries, again.counted) == ("m2", 2, True)
    other.close()


def test_a_lease_is_extended(place: Place, queues: Queues) -> None:
    holder, other = place.broker(queues, lease_s=1.0), place.broker(queues, lease_s=1.0)
    holder.connect()
    other.connect()
    holder.send([("m1", BODY)])
    held = receive(holder, 1)
    for _ in range(5):
        assert not other.receive(1, 0, 0.05)
        time.sleep(0.25)
        holder.extend(held)
    assert not other.receive(1, 0, 0.05)
    holder.settle([Settlement(held[0], Fate.DONE)])
    holder.close()
    other.close()


def test_a_queue_that_is_missing_is_a_mistake(place: Place) -> None:
    if place.kind == "memory":
        pytest.skip("memory makes them")
    broker = place.broker(place.queues(), create=False)
    with pytest.raises(UsageError, match="has no"):
        broker.connect()
    broker.close()


@pytest.mark.parametrize("place", ["sqs"], indirect=True)
def test_connecting_anew_asks_sqs(place: Place, queues: Queues, broker: Broker) -> None:
    again = place.broker(queues, create=False)
    again.connect()
    client = boto3.client("sqs", region_name="eu-west-1")
    client.delete_queue(QueueUrl=client.get_queue_url(QueueName=queues.rows)["QueueUrl"])
    client.close()
    with pytest.raises(UsageError, match="has no queue"):
        again.connect()


@pytest.mark.parametrize("place", ["sqs"], indirect=True)
def test_a_delete_that_sqs_refuses_is_no_acknowledgement(broker: Broker) -> None:
    broker.send([(f"m{n}", BODY) for n in range(12)])
    *most, last = receive(broker, 12)
    assert broker.settle([Settlement(message, Fate.DONE) for message in most])
    assert not broker.settle([Settlement(replace(last, handle="of nobody"), Fate.DONE)])


@pytest.mark.parametrize("place", ["redis"], indirect=True)
def test_a_redis_key_that_is_no_stream_is_said(place: Place, queues: Queues) -> None:
    client: Any = redis.Redis.from_url(place.url)
    client.set(queues.rows, "text")
    client.close()
    broker = place.broker(queues)
    with pytest.raises(broker.faults, match="WRONGTYPE"):
        broker.connect()
    broker.close()


@pytest.mark.parametrize("place", ["redis"], indirect=True)
def test_a_redis_user_who_may_not_join_the_group_is_refused(place: Place, queues: Queues) -> None:
    client: Any = redis.Redis.from_url(place.url)
    client.acl_setuser("reader", enabled=True, passwords=["+secret-of-reader"], commands=["+exists"], keys=["*"])
    client.close()
    host = place.url.rpartition("@")[2]
    broker = open_broker(address_of(f"redis://reader:secret-of-reader@{host}"), queues, lease_s=30.0, create=True)
    with pytest.raises(UsageError, match="refuses"):
        broker.connect()
    broker.close()


def _results(place: Place, queues: Queues) -> list[bytes]:
    """Of the reply queue."""
    if place.kind != "redis":
        assert queues.replies is not None
        return place.drained(queues, queues.replies)
    client: Any = redis.Redis.from_url(place.url)
    found = [fields[b"result"] for _, fields in client.xrange(queues.replies)]
    client.close()
    return found
