"""A token bucket for requests or tokens a minute. Pure: time is the caller's, and so is the queue before it."""

from __future__ import annotations

from llmbatch.limits.headers import Allowance

_BURST_S = 0.9  #: what may go at once after a lull; 1.5 % of a minute
_PART = 1 - _BURST_S / 60  #: the rest of the minute, so that no window of 60 s sees more than the limit
_REFUNDS_S = 5.0  #: what came back unused is kept up to so many seconds' worth
_A_MINUTE_S = 65.0  #: a limit that takes longer to reset is not one a minute (Groq's requests are a day's)


class Bucket:
    """Fills evenly from the start and holds ``_BURST_S`` seconds' worth, so there is never a minute's burst.

    An amount larger than the bucket goes when it is full, and the bucket then owes the rest: large requests are never
    passed over for small ones, provided that the caller serves its queue in order.

    Args:
        per_minute: the limit as configured; None if it is left to the answers' headers.
        share: the part of any named limit to use.
        now: seconds, of any clock that never goes back.
    """

    def __init__(self, per_minute: float | None, share: float, now: float) -> None:
        self._configured = per_minute
        self._learned: float | None = None
        self._paced: float | None = None
        self._share = share
        self.per_minute: float | None = None  #: the named limit in force, share included
        self._rate = 0.0  #: units a second; 0 is no limit
        self._burst = 0.0
        self._level = 1.0
        self._at = now
        self._retune(now)

    def never_fits(self, amount: float) -> bool:
        """Whether an amount is more than the limit of a whole minute."""
        return self.per_minute is not None and amount > self.per_minute

    @property
    def kept_up(self) -> float | None:
        """Units a minute that can be kept up, burst left out; None when there is no limit."""
        return self._rate * 60 or None

    def wait(self, amount: float, now: float) -> float:
        """Seconds until ``amount`` may be taken; 0 if at once."""
        if not self._rate:
            return 0.0
        self._fill(now)
        missing = min(amount, self._burst) - self._level
        return missing / self._rate if missing > 1e-9 * self._burst else 0.0

    def take(self, amount: float, now: float) -> None:
        """Take an amount that need not wait."""
        if self._rate:
            self._fill(now)
            self._level -= amount

    def settle(self, reserved: float, used: float, now: float) -> None:
        """Give back what was taken and not used, or take what was used beyond it.

        Unused amounts are kept up to 5 s' worth, and debts up to a minute's.
        """
        if self._rate:
            self._fill(now)
            most = max(self._level, self._rate * _REFUNDS_S, self._burst)
            self._level = max(min(self._level + reserved - used, most), -60 * self._rate)

    def learn(self, said: Allowance, now: float) -> bool:
        """Take over what an answer's headers say; whether the limit changed."""
        before = self.per_minute
        if said.limit is not None:
            limit = said.limit if (said.reset_s or 0.0) <= _A_MINUTE_S else None
            if limit != self._learned:
                self._learned = limit
                self._retune(now)
        if said.remaining is not None and self._learned is not None:
            self._fill(now)
            self._level = min(self._level, said.remaining)  # others use the key too
        return self.per_minute != before

    def pace(self, per_minute: float | None, now: float) -> None:
        """Also keep to a rate that was found by trying; None lifts it."""
        self._paced = per_minute
        self._retune(now)

    def _fill(self, now: float) -> None:
        if self._level < self._burst:
            self._level = min(self._burst, self._level + (now - self._at) * self._rate)
        self._at = now

    def _retune(self, now: float) -> None:
        """Work out rate and burst anew; a bucket that was without a limit starts nearly empty.

        An old debt is at most a minute's at the new rate, too.
        """
        if self._rate:
            self._fill(now)
        else:
            self._level, self._at = min(self._level, 1.0), now
        named = [limit for limit in (self._configured, self._learned) if limit is not None]
        self.per_minute = min(named) * self._share if named else None
        rates = [] if self.per_minute is None else [self.per_minute * _PART]
        if self._paced is not None:
            rates.append(self._paced)
        self._rate = min(rates, default=0.0) / 60
        self._burst = max(1.0, self._rate * _BURST_S / _PART)
        self._level = max(min(self._level, self._burst), -60 * self._rate)
