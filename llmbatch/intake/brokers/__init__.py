"""Brokers: one seam, and what each of them promises.

==========  ==========================================  ==================================  ==========================
broker      a result and its acknowledgement            a message of a killed worker        deliveries are counted by
==========  ==========================================  ==================================  ==========================
amqp        one transaction: both or neither            is delivered again at once          quorum queues; else by us
redis       one transaction: both or neither            after the lease                     the stream
sqs         result first; after a kill between both     after the lease                     SQS
            the result is there twice
==========  ==========================================  ==================================  ==========================

With files for results the file is synced first; a worker that finds the line there does not write it again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from llmbatch.intake.address import Address
from llmbatch.intake.message import Message, Queues, Settlement


class Broker(Protocol):
    """A connection to a broker. Its methods are called from one thread, each may raise one of ``faults``."""

    faults: tuple[type[Exception], ...]  #: the connection is lost, or the broker says that it cannot now
    largest: int | None  #: bytes of a result, at most
    lease_s: float | None  #: how long a message stays ours unless extended; None: as long as the connection

    def connect(self) -> None:
        """Connect, or connect anew, and find the queues. Raises UsageError when that can never work."""

    def receive(self, target: int, held: int, wait_s: float) -> list[Message]:
        """New messages, waiting ``wait_s`` for the first. At most ``target`` are held, and ``held`` are already."""

    def settle(self, batch: Sequence[Settlement]) -> bool:
        """Carry fates out; False when some are of a lost connection, and mean nothing any more."""

    def pause(self) -> None:
        """Hold nothing that was not received; until the next ``receive``."""

    def extend(self, messages: Sequence[Message]) -> None:
        """Keep messages for another lease, or the connection alive."""

    def send(self, batch: Sequence[tuple[str, bytes]]) -> None:
        """Put rows in: (id, body). When it returns, the broker has them."""

    def close(self) -> None:
        """Let go. Messages that are held go back."""


def open_broker(address: Address, queues: Queues, *, lease_s: float, create: bool) -> Broker:
    """The broker at an address, not connected yet. ``create`` makes queues that are missing."""
    if address.scheme in ("amqp", "amqps"):
        from llmbatch.intake.brokers.amqp import AmqpBroker

        return AmqpBroker(address, queues, create=create)
    if address.scheme in ("redis", "rediss"):
        from llmbatch.intake.brokers.redis import RedisBroker

        return RedisBroker(address, queues, lease_s=lease_s, create=create)
    if address.scheme == "sqs":
        from llmbatch.intake.brokers.sqs import SqsBroker

        return SqsBroker(address, queues, lease_s=lease_s, create=create)
    from llmbatch.intake.brokers.memory import MemoryBroker

    return MemoryBroker(address, queues)
