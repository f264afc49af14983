"""The server's own limits: a bucket of requests and one of tokens, and the headers that tell of them."""

from __future__ import annotations

import math
from dataclasses import dataclass

from llmbatch.simulator.scenario import Limits


@dataclass(slots=True)
class Bucket:
    """Fills at ``per_minute`` up to ``capacity``; starts full. Time is the caller's, in seconds."""

    per_minute: float
    capacity: float
    level: float
    at: float

    def fill(self, now: float) -> None:
        """Add what has come in since the last look."""
        self.level = min(self.capacity, self.level + (now - self.at) * self.per_minute / 60)
        self.at = now

    def wait_s(self, amount: float) -> float:
        """Seconds until ``amount`` may be taken; infinite when it is more than a minute's allowance.

        A full bucket gives any amount and then owes, so that a small burst does not shut out large requests.
        """
        if amount > self.per_minute:
            return math.inf
        return max(0.0, (min(amount, self.capacity) - self.level) * 60 / self.per_minute)

    def reset_s(self) -> float:
        """Seconds until it is full again."""
        return (self.capacity - self.level) * 60 / self.per_minute


@dataclass(frozen=True, slots=True)
class Denied:
    """Why a request has to wait."""

    kind: str  #: requests or tokens
    wait_s: float  #: infinite when the request can never fit
    message: str


class Buckets:
    """The limits of a scenario; those not named do not exist."""

    def __init__(self, limits: Limits, now: float) -> None:
        self._show = limits.headers
        rates = {"requests": limits.requests_per_minute, "tokens": limits.tokens_per_minute}
        self._buckets = {
            kind: Bucket(rate, capacity := max(rate * limits.burst_s / 60, 1.0), capacity, now)
            for kind, rate in rates.items()
            if rate is not None
        }

    def take(self, tokens: int, now: float) -> Denied | None:
        """Take one request and its input tokens, or say why not and take nothing."""
        amounts = {"requests": 1, "tokens": tokens}
        for kind, bucket in self._buckets.items():
            bucket.fill(now)
            if wait := bucket.wait_s(amounts[kind]):
                return Denied(kind, wait, _message(kind, bucket, amounts[kind], wait))
        for kind, bucket in self._buckets.items():
            bucket.level -= amounts[kind]
        return None

    def settle(self, tokens: int) -> None:
        """Take the output tokens of an answer, though the bucket may then owe."""
        if "tokens" in self._buckets:
            self._buckets["tokens"].level -= tokens

    def headers(self, now: float) -> dict[str, str]:
        """``x-ratelimit-{limit,remaining,reset}-{requests,tokens}``; empty when hidden or without limits."""
        found: dict[str, str] = {}
        if not self._show:
            return found
        for kind, bucket in self._buckets.items():
            bucket.fill(now)
            found[f"x-ratelimit-limit-{kind}"] = f"{bucket.per_minute:.0f}"
            found[f"x-ratelimit-remaining-{kind}"] = str(max(0, int(bucket.level)))
            found[f"x-ratelimit-reset-{kind}"] = duration(bucket.reset_s())
        return found


def duration(seconds: float) -> str:
    """As OpenAI writes it: ``120ms``, ``1.5s``, ``6m0s``, ``1h0m0s``."""
    if seconds < 1:
        return f"{math.ceil(seconds * 1000)}ms"
    minutes, rest = divmod(round(seconds, 3), 60)
    hours, minutes = divmod(int(minutes), 60)
    return (f"{hours}h" if hours else "") + (f"{minutes}m" if hours or minutes else "") + f"{rest:.10g}s"


def _message(kind: str, bucket: Bucket, amount: float, wait_s: float) -> str:
    limit = f"Limit {bucket.per_minute:.0f}"
    if math.isinf(wait_s):
        return f"Request too large on {kind} per min: {limit}, Requested {amount:.0f}."
    used = bucket.capacity - bucket.level
    again = f"Please try again in {duration(wait_s)}."
    return f"Rate limit reached on {kind} per min: {limit}, Used {used:.0f}, Requested {amount:.0f}. {again}"
