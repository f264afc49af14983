"""What an answer's headers say of limits and waiting. Absent headers are normal; junk counts as absent."""

from __future__ import annotations

import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import NamedTuple

#: No wait that a header asks for is longer than this: an hour, in seconds.
LONGEST_WAIT_S = 3600.0

_NUMBER = re.compile(r"\d{1,15}(\.\d{1,9})?")
_DURATION = re.compile(r"(\d{1,15}(?:\.\d{1,9})?)(h|ms|m|s|us|µs|ns)")  # as Go's time.Duration.String writes it
_UNIT_S = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}


class Allowance(NamedTuple):
    """``x-ratelimit-{limit,remaining,reset}-KIND`` of one answer; None is what it did not say."""

    limit: float | None
    remaining: float | None
    reset_s: float | None  #: seconds until the whole limit is there again


def allowance(headers: Mapping[str, str], kind: str) -> Allowance | None:
    """The allowance of a kind (``requests`` or ``tokens``); None when the answer says nothing of it.

    Names are lower case. A limit of zero is no limit that could be kept, so it counts as absent.
    """
    limit = headers.get(f"x-ratelimit-limit-{kind}")
    remaining = headers.get(f"x-ratelimit-remaining-{kind}")
    if limit is None and remaining is None:
        return None
    return Allowance(
        number(limit or "") or None,
        number(remaining or ""),
        duration(headers.get(f"x-ratelimit-reset-{kind}", "")),
    )


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds to wait, at most ``LONGEST_WAIT_S``; None when no header says it readably.

    ``retry-after-ms`` is finer than ``retry-after`` (seconds or an HTTP date); ``llm_provider-retry-after`` is what
    a LiteLLM proxy passes on. Zero, negative waits and dates in the past say nothing that could be obeyed.

    Args:
        headers: of the answer; names are lower case, or the mapping ignores case.
        now: seconds since the epoch.
    """
    milliseconds = number(headers.get("retry-after-ms", ""))
    waits = [
        None if milliseconds is None else milliseconds / 1000,
        _seconds_or_date(headers.get("retry-after", ""), now),
        _seconds_or_date(headers.get("llm_provider-retry-after", ""), now),
    ]
    return next((min(wait, LONGEST_WAIT_S) for wait in waits if wait is not None and wait > 0), None)


@lru_cache(512)  # the same limits come with every answer
def number(text: str) -> float | None:
    """A plain number that is not negative; None for anything else."""
    text = text.strip()
    return float(text) if _NUMBER.fullmatch(text) else None


@lru_cache(512)
def duration(text: str) -> float | None:
    """Seconds of ``6m0s``, ``1s``, ``12ms`` or ``1.5``; None for anything else."""
    text = text.strip()
    parts = _DURATION.findall(text)
    if not parts or "".join(amount + unit for amount, unit in parts) != text:
        return number(text)
    return float(sum(float(amount) * _UNIT_S[unit] for amount, unit in parts))


def _seconds_or_date(text: str, now: float) -> float | None:
    if (seconds := duration(text)) is not None:
        return seconds
    try:
        return parsedate_to_datetime(text).timestamp() - now
    except (ValueError, OverflowError):
        return None
