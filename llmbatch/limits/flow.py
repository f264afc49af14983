"""All limits together: whether a call may go now, and what its end teaches. Pure: the waiting is the gate's."""

from __future__ import annotations

import random
from math import inf

from llmbatch.limits.breaker import Breaker
from llmbatch.limits.bucket import Bucket
from llmbatch.limits.calls import Admitted, Ended
from llmbatch.limits.changes import Changes
from llmbatch.limits.concurrency import Adaptive, Fixed, Slots
from llmbatch.limits.cooldown import CoolDown
from llmbatch.limits.headers import allowance
from llmbatch.limits.pace import Pace
from llmbatch.limits.state import LimitState
from llmbatch.settings import LimitSettings

_ALIVE = frozenset({"answered", "rejected", "refused"})  #: the provider answered, whatever it said
_FAILING = frozenset({"overloaded", "transient", "timeout"})
_COUNTED = frozenset({"answered", "timeout", "cancelled"})  #: the provider may have counted its tokens
_KEEPS_PLACE = 3  #: 429s in a row after which a row comes before later ones
_ALONE = 5  #: 429s in a row, after which the next ones pause nobody while the provider answers others
_AT_ONCE_S = 0.02  #: what is spaced closer than this goes together: a timer a call would cost more than it brings
_TOLD_PAUSE_S = 0.5  #: shorter ones are not worth a line


class Flow:
    """Slots, requests and tokens a minute, cool-down and breaker, for one provider and key."""

    def __init__(self, settings: LimitSettings, rng: random.Random, changes: Changes, now: float) -> None:
        self.slots: Slots = Adaptive(changes, now) if settings.concurrency == "auto" else Fixed(settings.concurrency)
        self._requests = Bucket(settings.requests_per_minute, settings.share, now)
        self._tokens = Bucket(settings.tokens_per_minute, settings.share, now)
        self._pace = Pace()
        self._cooldown = CoolDown(rng)
        self._breaker = Breaker(rng)
        self._calls: dict[int, Admitted] = {}  #: in flight, by identity, oldest first
        self._probe: Admitted | None = None
        self._sent_back: dict[int, int] = {}  #: rows, and how many 429s they got in a row
        self._silent_since: float | None = None  #: the first fault since the provider last answered
        self._next_at = -inf  #: of the next call, as slots.gap_s spaces them
        self._changes = changes

    @property
    def in_flight(self) -> int:
        """Calls admitted and not ended."""
        return len(self._calls)

    @property
    def probing(self) -> bool:
        """Whether the next call is a probe of a provider that seems to be down."""
        return self._breaker.is_open and self._probe is None

    def keeps_place(self, row_no: int) -> bool:
        """Whether a row that got a 429 comes before those who came later."""
        return 1 <= self._sent_back.get(row_no, 0) <= _KEEPS_PLACE and not self._cooldown.doubtful

    def unfit(self, tokens: int) -> str | None:
        """Why a call of so many tokens can never go; None when it can."""
        if not self._tokens.never_fits(tokens):
            return None
        return f"needs about {tokens:,} tokens, and the limit is {self._tokens.per_minute:,.0f} tokens a minute"

    def wait(self, tokens: int, now: float) -> float:
        """Seconds until a call may go, if nothing else happens; 0 if now, infinite if another call must end first."""
        if len(self._calls) >= self.slots.limit or (self._breaker.is_open and self._probe is not None):
            return inf
        return max(
            0.0,
            self._breaker.wait(now),
            self._cooldown.wait(now),
            self._next_at - _AT_ONCE_S - now,
            self._requests.wait(1, now),
            self._tokens.wait(tokens, now),
        )

    def admit(self, row_no: int, tokens: int, now: float) -> Admitted:
        """Let a call go that need not wait."""
        probe = self._breaker.is_open or self._cooldown.doubtful
        call = Admitted(row_no, tokens, now, probe, len(self._calls))
        if self._breaker.is_open:
            self._probe = call
        self._calls[id(call)] = call
        self._requests.take(1, now)
        self._tokens.take(tokens, now)
        self._pace.admitted()
        self._next_at = max(self._next_at, now) + self.slots.gap_s
        self._cooldown.admitted(self.slots.limit, now)
        return call

    def give_back(self, call: Admitted, now: float) -> None:
        """A call that was let go will not be made."""
        self._free(call)
        self._pace.forget(call.at)
        self._requests.settle(1, 0, now)
        self._tokens.settle(call.tokens, 0, now)

    def settle(self, call: Admitted, ended: Ended, now: float) -> None:
        """Learn from a call that ended."""
        again = self._sent_back_again(call, ended)
        crowded = not again and self.slots.settled(call, ended, len(self._calls), now)
        if crowded:
            self._no_pace(now)
        if again:
            self._pace.forget(call.at)
        self._free(call)
        if ended.headers:
            self._learn(ended, now)
        used = ended.tokens
        if used is None:
            used = call.tokens if ended.outcome in _COUNTED else 0
        self._tokens.settle(call.tokens, used, now)
        if ended.outcome in _ALIVE:
            self._alive(call, now)
        elif crowded and ended.retry_after is None:
            pass  # fewer slots are the answer to that, not a pause
        elif ended.outcome == "rate_limited" and again <= _ALONE:
            self._limited(call, ended, now, tells=not again)
        elif ended.outcome in _FAILING:
            self._failed(call, ended, now)

    def silent_s(self, now: float) -> float:
        """Seconds for which the provider as a whole has answered nothing; 0 while it is thought to answer."""
        if self._silent_since is None or not (self._breaker.is_open or self._cooldown.cooling(now)):
            return 0.0
        return now - self._silent_since

    def state(self, now: float) -> LimitState:
        """What the limits do now. Reads only, so that another thread may ask."""
        shut = self._breaker.is_open
        return LimitState(
            concurrency=self.slots.limit,
            paused_s=max(self._breaker.wait(now), self._cooldown.wait(now)),
            breaker=("open" if self._probe is None else "probing") if shut else "closed",
            requests_per_minute=self._requests.kept_up,
            tokens_per_minute=self._tokens.kept_up,
        )

    def _sent_back_again(self, call: Admitted, ended: Ended) -> int:
        """How many 429s a row got before this one, while the provider answered others: they may be of the row alone."""
        if ended.outcome != "rate_limited":
            self._sent_back.pop(call.row_no, None)
            return 0
        before = self._sent_back.get(call.row_no, 0)
        self._sent_back[call.row_no] = before + 1
        return before if self._silent_since is None and not call.probe else 0

    def _free(self, call: Admitted) -> None:
        del self._calls[id(call)]
        if self._probe is call:
            self._probe = None

    def _alive(self, call: Admitted, now: float) -> None:
        self._silent_since = None
        if self._breaker.answered(call):
            self._changes.add(now, "breaker", 0, "the provider answers again")
            if self._breaker.outage:
                self.slots.restart("begin again after an outage", now)
        self._cooldown.answered(now)
        before = self._pace.per_s
        if self._pace.answered(call.at, now):
            self._set_pace("nothing was refused" if before else "found from rate-limited answers", now)

    def _failed(self, call: Admitted, ended: Ended, now: float) -> None:
        self._silent_since = now if self._silent_since is None else self._silent_since
        if self._breaker.failed(call, self._calls.values(), now):
            self._changes.add(now, "breaker", 1, "rows in a row failed for the provider's reasons; probing")
        if ended.outcome == "overloaded" and ended.retry_after is not None:
            self._cool(call, ended.retry_after, "the server is overloaded", now)

    def _limited(self, call: Admitted, ended: Ended, now: float, *, tells: bool) -> None:
        self._silent_since = now if self._silent_since is None else self._silent_since
        if call.probe and self._breaker.answered(call):
            self._changes.add(now, "breaker", 0, "the provider answers again, with a rate limit")
        pause = self._cool(call, ended.retry_after, "rate limited", now)
        if tells and self._pace.limited(call.at, pause, now):
            self._set_pace("found from rate-limited answers", now)

    def _cool(self, call: Admitted, retry_after: float | None, reason: str, now: float) -> float:
        pause = self._cooldown.limited(call.at, retry_after, now)
        if pause >= _TOLD_PAUSE_S:
            self._changes.add(now, "pause", round(self._cooldown.wait(now), 2), reason)
        return pause

    def _set_pace(self, reason: str, now: float) -> None:
        pace = self._pace.per_s
        self._requests.pace(None if pace is None else pace * 60, now)
        self._changes.add(now, "requests_per_minute", None if pace is None else round(pace * 60, 1), reason)

    def _no_pace(self, now: float) -> None:
        """The 429s were of too many calls at once: what came through meanwhile is no limit a minute."""
        had, self._pace = self._pace.per_s, Pace()
        if had is not None:
            self._set_pace("the limit is one of calls at once", now)

    def _learn(self, ended: Ended, now: float) -> None:
        for kind, bucket in (("requests", self._requests), ("tokens", self._tokens)):
            said = allowance(ended.headers, kind)
            if said is not None and bucket.learn(said, now):
                self._changes.add(now, f"{kind}_per_minute", bucket.per_minute, f"x-ratelimit-limit-{kind}")
