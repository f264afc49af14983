"""AMQP 0.9.1 (RabbitMQ), by kombu.

A result, a dead letter and the acknowledgement of its message are one AMQP transaction on the channel that the message
came by: a worker that dies leaves all of it or nothing. ``tx.commit-ok`` is also the broker's word that what was
published is on its disk, so there are no publisher confirms beside it.

Quorum queues count deliveries themselves (``x-delivery-count``). Of other queues AMQP only says that a message was
delivered before, so such a message is put back at the end with its count in a header, before it is answered; a copy
with a count cannot be lost by a crash, as a number in memory would. That may be hours before it comes again, so whether
its result is in a file is looked up before that.
"""

from __future__ import annotations

import hashlib
import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import amqp.exceptions
import kombu
import kombu.exceptions

from llmbatch.errors import UsageError
from llmbatch.intake.address import Address
from llmbatch.intake.message import LONGEST_REASON, Fate, Message, Queues, Settlement
from llmbatch.intake.trust import refuse_untrusted

_COUNT = "x-llmbatch-deliveries"  #: header: deliveries before those that the broker counts
_BY_QUORUM = "x-delivery-count"
_REASON = "x-llmbatch-reason"
_HEARTBEAT_S = 30
_CONNECT_S = 10
_CONSUMER = "llmbatch"
_GLANCE_S = 0.0001  #: 0 would mean for ever
_PERSISTENT = 2
_PREFETCH_STEP = 1.25  #: a new prefetch takes a new consumer, so small changes are passed over
_MOST_PREFETCH = 65_535
_DENIED = (403, 530)  #: AMQP reply codes that no waiting mends: access refused, not allowed


class AmqpBroker:
    """One connection, one channel, one consumer."""

    lease_s: float | None = None
    largest: int | None = 64 * 2**20
    faults: tuple[type[Exception], ...] = (OSError, amqp.exceptions.AMQPError, kombu.exceptions.OperationalError)

    def __init__(self, address: Address, queues: Queues, *, create: bool) -> None:
        self._address = address
        self._queues = queues
        self._create = create
        self._connection: Any = None  # kombu has no types
        self._channel: Any = None
        self._arrived: list[Any] = []
        self._session = 0
        self._prefetch = 0  # of the consumer; 0 when there is none

    def connect(self) -> None:
        """Connect anew, with a channel in transactions."""
        self.close()
        self._session += 1
        self._prefetch = 0
        self._arrived = []
        with _final_errors(self._address):
            self._connection = self._opened()
            for name in filter(None, (self._queues.rows, self._queues.dead, self._queues.replies)):
                self._find(name)
            self._channel = self._connection.channel()
            self._channel.tx_select()

    def _opened(self) -> Any:
        at = self._address
        connection = kombu.Connection(
            hostname=at.host,
            userid=at.user or "guest",
            password=at.password or "guest",
            virtual_host=at.path or "/",
            port=at.port,
            transport="pyamqp",
            ssl=_tls(at),
            heartbeat=_HEARTBEAT_S,
            connect_timeout=_CONNECT_S,
        )
        connection.connect()
        return connection

    def _find(self, name: str) -> None:
        """Whatever kind of queue it is. A channel that asked for one that is missing is closed by the broker."""
        try:
            channel = self._connection.channel()
            channel.queue_declare(name, passive=True)
            channel.close()
        except amqp.exceptions.NotFound:
            if not self._create:
                raise UsageError(f"{self._address.shown} has no queue {name}", hint="--create makes it") from None
            channel = self._connection.channel()
            channel.queue_declare(name, durable=True, auto_delete=False)
            channel.close()

    def receive(self, target: int, held: int, wait_s: float) -> list[Message]:  # noqa: ARG002 - the broker counts them
        """What the broker pushed, up to the prefetch."""
        self._consume(max(1, min(target, _MOST_PREFETCH)))
        self._connection.heartbeat_check()
        if not self._arrived:
            with suppress(TimeoutError):
                self._connection.drain_events(timeout=wait_s)
        with suppress(TimeoutError):
            while len(self._arrived) < target:
                self._connection.drain_events(timeout=_GLANCE_S)
        arrived, self._arrived = self._arrived, []
        return [self._message(each) for each in arrived]

    def _consume(self, prefetch: int) -> None:
        if self._prefetch / _PREFETCH_STEP <= prefetch <= self._prefetch * _PREFETCH_STEP:
            return
        if self._prefetch:
            self._channel.basic_cancel(_CONSUMER)
        self._channel.basic_qos(0, prefetch, False)
        self._channel.basic_consume(self._queues.rows, callback=self._arrived_one, consumer_tag=_CONSUMER)
        self._prefetch = prefetch

    def _arrived_one(self, message: Any) -> None:
        self._arrived.append(message)

    def _message(self, raw: Any) -> Message:
        counted = not _uncounted(raw)
        deliveries = _before(raw) + (1 if counted else 2)
        body = raw.body.encode() if isinstance(raw.body, str) else bytes(raw.body)
        name = raw.properties.get("message_id") or hashlib.sha256(body).hexdigest()[:32]
        correlation = raw.properties.get("correlation_id") or name
        reason = (raw.headers or {}).get(_REASON)
        named = "message_id" in raw.properties
        return Message(body, name, named, deliveries, correlation, raw, self._session, reason, counted)

    def settle(self, batch: Sequence[Settlement]) -> bool:
        """In one transaction."""
        mine = [each for each in batch if each.message.session == self._session]
        for each in mine:
            message, raw = each.message, each.message.handle
            if each.reply is not None and self._queues.replies is not None:
                properties = {"message_id": f"{message.id}:answer", "correlation_id": message.correlation}
                self._publish(self._queues.replies, each.reply, properties, {}, "application/json")
            if each.fate is Fate.DEAD:
                reason = (each.reason or "")[:LONGEST_REASON]
                self._publish(self._queues.dead, raw.body, _kept(raw), {**(raw.headers or {}), _REASON: reason})
            elif each.fate in (Fate.AGAIN, Fate.BACK):
                count = message.deliveries - (each.fate is Fate.BACK)
                self._publish(self._queues.rows, raw.body, _kept(raw), {**(raw.headers or {}), _COUNT: count})
            self._channel.basic_ack(raw.delivery_tag)
        if mine:
            self._channel.tx_commit()
        return len(mine) == len(batch)

    def pause(self) -> None:
        """Cancel the consumer, and put back what it was sent meanwhile, with the count that it has."""
        if self._prefetch:
            self._channel.basic_cancel(_CONSUMER)
            self._prefetch = 0
        arrived, self._arrived = self._arrived, []
        for raw in arrived:
            count = _before(raw) + _uncounted(raw)
            self._publish(self._queues.rows, raw.body, _kept(raw), {**(raw.headers or {}), _COUNT: count})
            self._channel.basic_ack(raw.delivery_tag)
        if arrived:
            self._channel.tx_commit()

    def extend(self, messages: Sequence[Message]) -> None:  # noqa: ARG002
        """They are ours as long as the connection lives; heartbeats keep it, both ways."""
        self._connection.heartbeat_check()
        with suppress(TimeoutError):
            self._connection.drain_events(timeout=_GLANCE_S)

    def send(self, batch: Sequence[tuple[str, bytes]]) -> None:
        """In one transaction."""
        for name, body in batch:
            self._publish(self._queues.rows, body, {"message_id": name}, {}, "application/json")
        self._channel.tx_commit()

    def _publish(
        self, queue: str, body: Any, properties: dict[str, Any], headers: dict[str, Any], kind: str | None = None
    ) -> None:
        headers = {name: value for name, value in headers.items() if name != _BY_QUORUM}
        properties = {"delivery_mode": _PERSISTENT, **properties}
        message = self._channel.prepare_message(
            body, content_type=properties.pop("content_type", kind), headers=headers, properties=properties
        )
        self._channel.basic_publish(message, exchange="", routing_key=queue)

    def close(self) -> None:
        """Close the connection, lost or not."""
        connection, self._connection, self._channel = self._connection, None, None
        if connection is not None:
            with suppress(*self.faults):
                connection.close()


def _tls(address: Address) -> dict[str, str | None] | None:
    """Without the host's name py-amqp takes any host's certificate."""
    if not address.encrypted:
        return None
    trust = address.trust
    return {
        "server_hostname": address.host,
        "ca_certs": trust.authority,
        "certfile": trust.certificate,
        "keyfile": trust.key,
    }


def _before(raw: Any) -> int:
    """Deliveries before this one, as far as they are counted: by a quorum queue, and by us."""
    counts = [(raw.headers or {}).get(name, 0) for name in (_COUNT, _BY_QUORUM)]
    return sum(count for count in counts if type(count) is int and count > 0)


def _uncounted(raw: Any) -> bool:
    """Whether it was delivered before, and nobody counted."""
    return bool(raw.delivery_info.get("redelivered")) and _BY_QUORUM not in (raw.headers or {})


def _kept(raw: Any) -> dict[str, Any]:
    """Properties of a message that its copy has too."""
    names = (
        "message_id",
        "correlation_id",
        "content_type",
        "content_encoding",
        "reply_to",
        "type",
        "app_id",
        "priority",
    )
    return {name: raw.properties[name] for name in names if raw.properties.get(name) is not None}


@contextmanager
def _final_errors(address: Address) -> Iterator[None]:
    """What waiting does not mend, as UsageError."""
    try:
        yield
    except ssl.SSLCertVerificationError as error:
        refuse_untrusted(address.shown, error)
        raise
    except amqp.exceptions.AMQPError as error:
        if getattr(error, "reply_code", None) in _DENIED or isinstance(error, amqp.exceptions.AccessRefused):
            words = f"{address.shown} refuses: {error.reply_text or type(error).__name__}"
            raise UsageError(words, hint="check user, password, virtual host and permissions") from None
        raise
