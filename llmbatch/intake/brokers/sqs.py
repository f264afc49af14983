"""Amazon SQS, by boto3: in batches of ten, leases extended while rows are answered.

Credentials, region and endpoint come from the environment, as every AWS tool takes them. SQS has no transactions: the
result is sent first, then the message deleted. Its id, ``ID:answer``, tells a result that comes twice; into a FIFO
queue it does not come twice within five minutes. kombu's transport is not used: it takes a body that looks like base64
for base64, deletes one message a call, and extends no lease.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, NoRegionError

from llmbatch.errors import UsageError
from llmbatch.intake.address import Address
from llmbatch.intake.message import LONGEST_REASON, Fate, Message, Queues, Settlement

_COUNT = "llmbatch_deliveries"  #: attribute: deliveries before those that SQS counts
_BATCH = 10  #: entries of a call
_BATCH_BYTES = 250_000  #: of a call's bodies; SQS takes 256 KiB
_LARGEST = 262_000  #: bytes of a message, its attributes included
_RETRY_S = 30  #: times deliveries: how long a row that failed for now is left alone
_LONGEST_RETRY_S = 900
_TRIES = 5  #: of entries that SQS could not take just now
_FINAL = {"AccessDenied", "AccessDeniedException", "InvalidClientTokenId", "SignatureDoesNotMatch", "ExpiredToken"}


class _Refused(Exception):
    """SQS took some entries of a batch and not others."""


class SqsBroker:
    """Three queues by their addresses."""

    faults: tuple[type[Exception], ...] = (BotoCoreError, ClientError, OSError, _Refused)

    largest: int | None = 240_000

    def __init__(self, address: Address, queues: Queues, *, lease_s: float, create: bool) -> None:
        self.lease_s: float | None = lease_s
        self._visible_s = max(1, round(lease_s))
        self._address = address
        self._queues = queues
        self._create = create
        self._sqs: Any = None
        self._urls: dict[str, str] = {}

    def connect(self) -> None:
        """Find the queues. Each call connects for itself, so this is also how to see whether SQS is there again."""
        try:
            config = Config(connect_timeout=10, read_timeout=30, retries={"max_attempts": 3, "mode": "standard"})
            sqs = boto3.client("sqs", region_name=self._address.host or None, config=config)
            for name in filter(None, (self._queues.rows, self._queues.dead, self._queues.replies)):
                self._urls[name] = self._find(sqs, name)
        except (NoCredentialsError, NoRegionError) as error:
            raise UsageError(f"--broker sqs://: {error}", hint="set AWS_ACCESS_KEY_ID ..., and sqs://REGION") from None
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") in _FINAL:
                raise UsageError(f"SQS refuses: {error}", hint="check the credentials and what they may do") from None
            raise
        self._sqs = sqs

    def _find(self, sqs: Any, name: str) -> str:
        try:
            return str(sqs.get_queue_url(QueueName=name)["QueueUrl"])
        except sqs.exceptions.QueueDoesNotExist:
            if not self._create:
                raise UsageError(f"SQS has no queue {name}", hint="--create makes it") from None
        fifo = {"FifoQueue": "true"} if name.endswith(".fifo") else {}
        return str(sqs.create_queue(QueueName=name, Attributes=fifo)["QueueUrl"])

    def receive(self, target: int, held: int, wait_s: float) -> list[Message]:
        """Ten a call, as long as they come."""
        found: list[Message] = []
        while len(found) < target - held:
            reply = self._sqs.receive_message(
                QueueUrl=self._urls[self._queues.rows],
                MaxNumberOfMessages=min(_BATCH, target - held - len(found)),
                WaitTimeSeconds=0 if found or wait_s < 1 else round(wait_s),
                VisibilityTimeout=self._visible_s,
                MessageSystemAttributeNames=["ApproximateReceiveCount"],
                MessageAttributeNames=["correlation_id", "message_id", "reason", _COUNT],
            )
            messages = [_message(each) for each in reply.get("Messages", ())]
            found += messages
            if len(messages) < _BATCH:
                break
        if not found and wait_s < 1:
            time.sleep(wait_s)
        return found

    def settle(self, batch: Sequence[Settlement]) -> bool:
        """Results and dead letters first, then the rest."""
        if self._queues.replies is not None:
            replies = [
                _entry(f"{e.message.id}:answer", e.reply, {"correlation_id": e.message.correlation})
                for e in batch
                if e.reply is not None
            ]
            self._send(self._queues.replies, replies)
        dead = [
            _entry(e.message.id, e.message.body, {"reason": _reason(e), "message_id": e.message.id})
            for e in batch
            if e.fate is Fate.DEAD
        ]
        self._send(self._queues.dead, dead)
        self._send(self._queues.rows, [_copy(e.message) for e in batch if e.fate is Fate.BACK])
        gone = [{"ReceiptHandle": e.message.handle} for e in batch if e.fate is not Fate.AGAIN]
        whole = self._each_ten(self._sqs.delete_message_batch, self._queues.rows, gone)
        shown = [
            {
                "ReceiptHandle": e.message.handle,
                "VisibilityTimeout": min(_LONGEST_RETRY_S, _RETRY_S * e.message.deliveries),
            }
            for e in batch
            if e.fate is Fate.AGAIN
        ]
        self._each_ten(self._sqs.change_message_visibility_batch, self._queues.rows, shown)
        return whole

    def pause(self) -> None:
        """Nothing comes unasked."""

    def extend(self, messages: Sequence[Message]) -> None:
        """Ten a call. One whose lease has run out is somebody else's now."""
        entries = [{"ReceiptHandle": m.handle, "VisibilityTimeout": self._visible_s} for m in messages]
        self._each_ten(self._sqs.change_message_visibility_batch, self._queues.rows, entries)

    def send(self, batch: Sequence[tuple[str, bytes]]) -> None:
        """Ten a call."""
        self._send(self._queues.rows, [_entry(name, body, {"message_id": name}) for name, body in batch])

    def close(self) -> None:
        """Nothing stays open."""

    def _send(self, queue: str, entries: list[dict[str, Any]]) -> None:
        for entry in entries:
            name = entry.pop("name")
            if queue.endswith(".fifo"):
                entry |= {"MessageGroupId": name, "MessageDeduplicationId": entry.pop("once", name)}
            entry.pop("once", None)
        for chunk in _chunks(entries):
            self._whole(self._sqs.send_message_batch, queue, chunk)

    def _each_ten(self, call: Callable[..., Any], queue: str, entries: list[dict[str, Any]]) -> bool:
        """False when some failed. They come again by themselves, so nothing is tried twice."""
        whole = True
        for start in range(0, len(entries), _BATCH):
            chunk = [{"Id": str(i), **entry} for i, entry in enumerate(entries[start : start + _BATCH])]
            whole &= not call(QueueUrl=self._urls[queue], Entries=chunk).get("Failed")
        return whole

    def _whole(self, call: Callable[..., Any], queue: str, entries: list[dict[str, Any]]) -> None:
        """Until every entry is taken."""
        chunk = [{"Id": str(i), **entry} for i, entry in enumerate(entries)]
        for tried in range(_TRIES):
            failed = call(QueueUrl=self._urls[queue], Entries=chunk).get("Failed", [])
            if not failed:
                return
            names = {each["Id"] for each in failed}
            chunk = [entry for entry in chunk if entry["Id"] in names]
            if any(each.get("SenderFault") for each in failed):
                break
            time.sleep(0.1 * 2**tried)
        raise _Refused(f"SQS does not take {len(chunk)} messages: {failed[0].get('Code')}")


def _entry(name: str, body: bytes | None, attributes: dict[str, str]) -> dict[str, Any]:
    return {
        "name": name,
        "MessageBody": (body or b"").decode(errors="replace") or " ",
        "MessageAttributes": {
            key: {"DataType": "String", "StringValue": value} for key, value in attributes.items() if value
        },
    }


def _copy(message: Message) -> dict[str, Any]:
    """A message that goes back: a new one with the count of the old, because SQS would count this receipt."""
    count = str(message.deliveries - 1)
    attributes = {"message_id": message.id, "correlation_id": message.correlation, _COUNT: count}
    return _entry(message.id, message.body, attributes) | {"once": f"{message.id}-{secrets.token_hex(4)}"}


def _reason(dead: Settlement) -> str:
    """As long as there is room for it beside the body."""
    return (dead.reason or "unknown")[: max(0, min(LONGEST_REASON, (_LARGEST - len(dead.message.body)) // 4))]


def _chunks(entries: list[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """At most ten, and not more bytes than a call may have."""
    chunk: list[dict[str, Any]] = []
    size = 0
    for entry in entries:
        length = len(entry["MessageBody"].encode()) + LONGEST_REASON * 4
        if chunk and (len(chunk) == _BATCH or size + length > _BATCH_BYTES):
            yield chunk
            chunk, size = [], 0
        chunk.append(entry)
        size += length
    if chunk:
        yield chunk


def _message(raw: dict[str, Any]) -> Message:
    attributes = raw.get("MessageAttributes", {})
    named = attributes.get("message_id", {}).get("StringValue")
    correlation = attributes.get("correlation_id", {}).get("StringValue")
    reason = attributes.get("reason", {}).get("StringValue")
    name = named or raw["MessageId"]
    before = attributes.get(_COUNT, {}).get("StringValue", "0")
    count = int(raw.get("Attributes", {}).get("ApproximateReceiveCount", 1)) + (int(before) if before.isdigit() else 0)
    return Message(raw["Body"].encode(), name, True, count, correlation or name, raw["ReceiptHandle"], reason=reason)
