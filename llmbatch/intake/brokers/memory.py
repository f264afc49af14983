"""A broker in this process: for tests, and for trying a pipeline out."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from llmbatch.intake.address import Address
from llmbatch.intake.message import Fate, Message, Queues, Settlement


@dataclass(slots=True)
class _Shelf:
    """One queue: messages with what is said of them."""

    messages: deque[tuple[Message, str | None]] = field(default_factory=deque)


_shelves: dict[tuple[str, str], _Shelf] = {}
_changed = threading.Condition()


class MemoryBroker:
    """Queues of this process, by the address's host and path. They live as long as it does."""

    faults: tuple[type[Exception], ...] = ()
    lease_s: float | None = None
    largest: int | None = None

    def __init__(self, address: Address, queues: Queues) -> None:
        self._where = address.shown
        self._queues = queues
        self._held: dict[int, Message] = {}
        self._numbers = 0

    def connect(self) -> None:
        """Nothing is far."""

    def receive(self, target: int, held: int, wait_s: float) -> list[Message]:
        """Take from the left."""
        found: list[Message] = []
        with _changed:
            shelf = self._shelf(self._queues.rows)
            if not shelf.messages and target > held:
                _changed.wait(wait_s)
            while shelf.messages and len(found) < target - held:
                message, reason = shelf.messages.popleft()
                self._numbers += 1
                message = replace(message, deliveries=message.deliveries + 1, handle=self._numbers, reason=reason)
                self._held[self._numbers] = message
                found.append(message)
        return found

    def settle(self, batch: Sequence[Settlement]) -> bool:
        """All in one step."""
        with _changed:
            for each in batch:
                message = self._held.pop(each.message.handle, None)
                if message is None:
                    continue
                if each.reply is not None and self._queues.replies is not None:
                    reply = replace(message, body=each.reply, deliveries=0)
                    self._shelf(self._queues.replies).messages.append((reply, None))
                if each.fate is Fate.DEAD:
                    self._shelf(self._queues.dead).messages.append((replace(message, deliveries=0), each.reason))
                elif each.fate is Fate.AGAIN:
                    self._shelf(self._queues.rows).messages.append((message, None))
                elif each.fate is Fate.BACK:
                    back = replace(message, deliveries=message.deliveries - 1)
                    self._shelf(self._queues.rows).messages.append((back, None))
            _changed.notify_all()
        return True

    def pause(self) -> None:
        """Nothing comes unasked."""

    def extend(self, messages: Sequence[Message]) -> None:
        """They are ours as long as we live."""

    def send(self, batch: Sequence[tuple[str, bytes]]) -> None:
        """Put rows in."""
        with _changed:
            self._shelf(self._queues.rows).messages += [
                (Message(body, name, True, 0, name), None) for name, body in batch
            ]
            _changed.notify_all()

    def close(self) -> None:
        """Messages that are held go back, as after a death."""
        with _changed:
            self._shelf(self._queues.rows).messages += [(message, None) for message in self._held.values()]
            self._held.clear()

    def _shelf(self, name: str) -> _Shelf:
        return _shelves.setdefault((self._where, name), _Shelf())
