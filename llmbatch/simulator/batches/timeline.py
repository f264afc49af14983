"""When a batch is in which state. Pure: every time is the caller's, in seconds of the server's clock."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from llmbatch.simulator.batches.tables import Batches, BatchFault

ENDED = frozenset({"failed", "completed", "expired", "cancelled"})


@dataclass(frozen=True, slots=True)
class Timeline:
    """A batch's life as it was drawn when it was created; ``cancelled_at`` is all that changes later."""

    created_at: float
    begins_at: float  #: in progress from here
    done_at: float  #: the last row is done; infinite when it never is
    completes_at: float
    expires_at: float
    failure: tuple[str, str] | None = None  #: code and message, once it is validated
    most_done: float = 1.0  #: the part of its rows that is ever done
    cancelling_s: float = 0.0
    cancelled_at: float | None = None

    @property
    def ends_at(self) -> float:
        """When its last state begins."""
        if self.cancelled_at is not None:
            return self.cancelled_at + self.cancelling_s
        if self.failure is not None:
            return self.begins_at
        return min(self.completes_at, self.expires_at)

    def status(self, now: float) -> str:
        """Its state at a time."""
        if self.cancelled_at is not None and now >= self.cancelled_at:
            return "cancelled" if now >= self.ends_at else "cancelling"
        if now < self.begins_at:
            return "validating"
        if self.failure is not None:
            return "failed"
        if now >= self.expires_at and self.completes_at > self.expires_at:
            return "expired"
        if now < self.done_at:
            return "in_progress"
        return "finalizing" if now < self.completes_at else "completed"

    def done(self, now: float) -> float:
        """The part of its rows that is done at a time."""
        if self.failure is not None:
            return 0.0
        now = min(now, self.expires_at, math.inf if self.cancelled_at is None else self.cancelled_at)
        if now >= self.done_at:
            return self.most_done
        if now <= self.begins_at:
            return 0.0
        if math.isinf(self.done_at):
            return self.most_done * min(1.0, (now - self.begins_at) / (self.expires_at - self.begins_at))
        return self.most_done * (now - self.begins_at) / (self.done_at - self.begins_at)

    def cancel(self, now: float) -> Timeline:
        """The same, cancelled now; unchanged when it has ended or was cancelled before."""
        if self.cancelled_at is not None or self.status(now) in ENDED:
            return self
        return replace(self, cancelled_at=now)


def draw(batches: Batches, faults: Sequence[BatchFault], now: float, rng: random.Random) -> Timeline:
    """The life of a batch that is created now."""
    kinds = {fault.kind: fault for fault in faults}
    begins_at = now + batches.validating_s
    takes = batches.median_s * (rng.lognormvariate(0, batches.sigma) if batches.sigma else 1.0)
    if slow := kinds.get("slow"):
        takes *= slow.factor
    expires = kinds.get("expire")
    done_at = math.inf if "never" in kinds or expires else begins_at + takes
    failure = None
    if "fail" in kinds:
        failure = "invalid_json_line", "This line is not parseable as valid JSON."
    elif "over_quota" in kinds:
        failure = over_quota()
    return Timeline(
        created_at=now,
        begins_at=begins_at,
        done_at=done_at,
        completes_at=done_at + batches.finalizing_s,
        expires_at=now + batches.window_s,
        failure=failure,
        most_done=0.0 if "never" in kinds else expires.done if expires else 1.0,
        cancelling_s=batches.cancelling_s,
    )


def over_quota() -> tuple[str, str]:
    """Code and message of a batch that would make too many enqueued tokens."""
    return "token_limit_exceeded", "Enqueued token limit reached. Please try again once some batches have completed."
