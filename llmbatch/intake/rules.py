"""What an intake goes by, and what becomes of a message whose row has an outcome."""

from __future__ import annotations

from dataclasses import dataclass

from llmbatch.errors import Exit, Stop
from llmbatch.intake.message import Fate, Message, Queues
from llmbatch.settings import InputSettings
from llmbatch.types import Outcome, Status

#: failures that say nothing of the row: it is delivered again, as long as it may be
HEALING = frozenset(
    {"timeout", "connection", "broken_reply", "overloaded", "transient", "rate_limited"},
)
_ALONE_FROM = 3  #: deliveries


class Drained(Stop):
    """Nothing more is to be taken."""

    status = "drained"
    exit_code = Exit.OK


@dataclass(frozen=True, slots=True)
class Rules:
    """What the intake goes by."""

    queues: Queues
    settings: InputSettings
    max_deliveries: int
    idle_s: float | None = None  #: end when nothing came for so long
    most: int | None = None  #: end after so many messages

    def suspects(self, message: Message) -> bool:
        """Whether a message may be one that ends its worker, and is to be answered alone.

        Not at the last delivery only: what is held with one that ends its worker is counted too.
        """
        return message.counted and min(_ALONE_FROM, self.max_deliveries) <= message.deliveries <= self.max_deliveries


def fate_of(outcome: Outcome, deliveries: int, most: int) -> Fate:
    """What becomes of a message that was delivered so often, and may be at most so often."""
    if outcome.status is Status.FAILED:
        return Fate.AGAIN if outcome.failure in HEALING and deliveries < most else Fate.DEAD
    if outcome.status is Status.SKIPPED and outcome.failure == "bad_row":
        return Fate.DEAD
    return Fate.DONE
