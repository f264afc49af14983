"""Messages, and what becomes of them."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from llmbatch.noun import noun


@noun(frozen=True, slots=True)
class Queues:
    """Names of the queues that a worker uses."""

    rows: str
    dead: str
    replies: str | None = None  #: None: results go to files


@noun(frozen=True, slots=True)
class Message:
    """One delivery of a message."""

    body: bytes
    id: str  #: the same at each of its deliveries
    named: bool  #: no other message has this id; else it is made of the body
    deliveries: int  #: how often it was delivered, this time included
    correlation: str  #: what a result is to be matched by: the sender's correlation id, else ``id``
    handle: Any = None  #: what the broker needs to settle it
    session: int = 0  #: the connection it came by
    reason: str | None = None  #: of a dead letter: why it is one
    counted: bool = True  #: else the queue does not know its deliveries until it went back: it is not to be answered


class Fate(StrEnum):
    """What becomes of a message."""

    DONE = "done"  #: it has its result: acknowledged
    DEAD = "dead"  #: it never will: to the dead-letter queue, with the reason
    AGAIN = "again"  #: it failed for now: delivered again after a while, which counts
    BACK = "back"  #: the worker stops: delivered again at once, which does not count where the broker lets us say so


@noun(frozen=True, slots=True)
class Settlement:
    """A message and its fate."""

    message: Message
    fate: Fate
    reply: bytes | None = None  #: for the reply queue, in one step with the rest where the broker can
    reason: str | None = None  #: of a dead message


LONGEST_REASON = 1_000  #: characters that a dead-letter queue is told
