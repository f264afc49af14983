"""Redis streams, by redis-py: a consumer group, so that Redis keeps what was delivered, to whom, and how often.

A result, a dead letter and the acknowledgement are one MULTI. A message whose worker is silent for the lease is
claimed by another. Lists, as kombu uses them, are not enough: between ``BRPOP`` and its own note of the message a
killed worker loses it, and what is no JSON is lost in the reading.

Fields of an entry: ``row`` (the JSON text) and, if need be, ``id`` and ``correlation``; of a result ``result``; of a
dead letter ``row`` and ``reason``.
"""

from __future__ import annotations

import secrets
import socket
import time
from collections.abc import Sequence
from typing import Any

import redis
import redis.exceptions as faults
from redis.backoff import NoBackoff
from redis.retry import Retry

from llmbatch.errors import UsageError
from llmbatch.intake.address import Address
from llmbatch.intake.message import LONGEST_REASON, Fate, Message, Queues, Settlement
from llmbatch.intake.trust import refuse_untrusted

_GROUP = "llmbatch"
_CONNECT_S = 10
_CLAIM_S = 5.0  #: between two looks at what other workers left, at most
_RETRY_S = 30.0  #: times deliveries: how long a row that failed for now is left alone


class RedisBroker:
    """A consumer of its own name in the group."""

    faults: tuple[type[Exception], ...] = (faults.ConnectionError, faults.TimeoutError, faults.ResponseError)

    largest: int | None = 64 * 2**20

    def __init__(self, address: Address, queues: Queues, *, lease_s: float, create: bool) -> None:
        self.lease_s: float | None = lease_s
        self._lease_ms = int(lease_s * 1e3)
        self._address = address
        self._queues = queues
        self._create = create
        self._me = f"{socket.gethostname()}-{secrets.token_hex(4)}"
        self._redis: Any = None
        self._claim_at = 0.0

    def connect(self) -> None:
        """Connect, and join the group."""
        at = self._address
        if at.path and not at.path.isdigit():
            raise UsageError(f"--broker {at.shown}: the path is no number of a database")
        self.close()
        self._redis = redis.Redis(
            host=at.host, port=at.port or 6379, db=int(at.path or 0), username=at.user, password=at.password,
            socket_connect_timeout=_CONNECT_S, socket_timeout=_CONNECT_S,
            retry=Retry(NoBackoff(), 0),  # who calls waits, and knows what must not be done twice
            **_tls(at),
        )  # fmt: skip
        try:
            if not self._create and not self._redis.exists(self._queues.rows):
                raise UsageError(f"{at.shown} has no stream {self._queues.rows}", hint="--create makes it")
            self._join()
        except (faults.AuthenticationError, faults.NoPermissionError) as error:
            raise UsageError(f"{at.shown} refuses: {error}", hint="check user, password and permissions") from None
        except faults.ConnectionError as error:
            refuse_untrusted(at.shown, error)
            raise

    def _join(self) -> None:
        try:
            self._redis.xgroup_create(self._queues.rows, _GROUP, id="0", mkstream=True)
        except faults.ResponseError as error:
            if "BUSYGROUP" not in str(error):  # else it is there
                raise

    def receive(self, target: int, held: int, wait_s: float) -> list[Message]:
        """First what other workers left, from time to time, then what is new."""
        room = target - held
        if room <= 0:
            time.sleep(wait_s)
            return []
        if time.monotonic() >= self._claim_at:
            if claimed := self._claimed(room):
                return claimed
            self._claim_at = time.monotonic() + min(_CLAIM_S, self._lease_ms / 3e3)
        reply = self._redis.xreadgroup(
            _GROUP, self._me, {self._queues.rows: ">"}, count=room, block=max(1, int(wait_s * 1e3))
        )
        entries = _entries(reply)
        return [_message(entry, fields, 1) for entry, fields in entries if fields]

    def _claimed(self, room: int) -> list[Message]:
        _, entries, *_ = self._redis.xautoclaim(
            self._queues.rows, _GROUP, self._me, self._lease_ms, start_id="0-0", count=room
        )
        entries = [(entry, fields) for entry, fields in entries if fields]
        if not entries:
            return []
        pipe = self._redis.pipeline(transaction=False)
        for entry, _ in entries:
            pipe.xpending_range(self._queues.rows, _GROUP, min=entry, max=entry, count=1)
        counts = [found[0]["times_delivered"] if found else 1 for found in pipe.execute()]
        return [_message(entry, fields, count) for (entry, fields), count in zip(entries, counts, strict=True)]

    def settle(self, batch: Sequence[Settlement]) -> bool:
        """In one MULTI."""
        pipe = self._redis.pipeline(transaction=True)
        for each in batch:
            self._one(pipe, each)
        pipe.execute()
        if any(each.fate is Fate.BACK for each in batch):
            self._claim_at = 0.0
        return True

    def _one(self, pipe: Any, each: Settlement) -> None:
        message, rows = each.message, self._queues.rows
        names = {"id": message.id, "correlation": message.correlation}
        if each.reply is not None and self._queues.replies is not None:
            pipe.xadd(self._queues.replies, {"result": each.reply, **names})
        if each.fate is Fate.DEAD:
            pipe.xadd(self._queues.dead, {"row": message.body, "reason": (each.reason or "")[:LONGEST_REASON], **names})
        if each.fate in (Fate.DONE, Fate.DEAD):
            pipe.xack(rows, _GROUP, message.handle)
            pipe.xdel(rows, message.handle)
            return
        back = each.fate is Fate.BACK
        idle = self._lease_ms + 1 if back else max(0, self._lease_ms - int(_RETRY_S * message.deliveries * 1e3))
        pipe.xclaim(
            rows, _GROUP, self._me, 0, [message.handle],
            idle=idle, retrycount=message.deliveries - back, justid=True,
        )  # fmt: skip

    def pause(self) -> None:
        """Nothing comes unasked."""

    def extend(self, messages: Sequence[Message]) -> None:
        """Claim them anew, which sets their idle time to nothing and does not count."""
        self._redis.xclaim(self._queues.rows, _GROUP, self._me, 0, [m.handle for m in messages], justid=True)

    def send(self, batch: Sequence[tuple[str, bytes]]) -> None:
        """In one MULTI."""
        pipe = self._redis.pipeline(transaction=True)
        for name, body in batch:
            pipe.xadd(self._queues.rows, {"row": body, "id": name})
        pipe.execute()

    def close(self) -> None:
        """Let go of the connection."""
        if self._redis is not None:
            self._redis.close()
            self._redis = None


def _tls(address: Address) -> dict[str, Any]:
    if not address.encrypted:
        return {"ssl": False}
    trust = address.trust
    return {
        "ssl": True,
        "ssl_ca_certs": trust.authority,
        "ssl_certfile": trust.certificate,
        "ssl_keyfile": trust.key,
    }


def _entries(reply: Any) -> list[tuple[bytes, dict[bytes, bytes]]]:
    """Of one stream; a dict by name in RESP3, pairs in RESP2."""
    if not reply:
        return []
    if isinstance(reply, dict):
        ((found, *_),) = reply.values()
        return list(found)
    return list(reply[0][1])


def _message(entry: bytes, fields: dict[bytes, bytes], deliveries: int) -> Message:
    name = fields.get(b"id", entry).decode(errors="replace")
    correlation = fields.get(b"correlation", fields.get(b"id", entry)).decode(errors="replace")
    reason = fields[b"reason"].decode(errors="replace") if b"reason" in fields else None
    return Message(fields.get(b"row", b""), name, True, deliveries, correlation, entry, reason=reason)
