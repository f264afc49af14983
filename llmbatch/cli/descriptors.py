"""How many files the process may have open: each call in flight is a connection."""

from __future__ import annotations

import resource
from typing import Literal

from llmbatch.errors import UsageError
from llmbatch.limits.concurrency import CEILING

_OTHERS = 64  #: ledger, input, results, libraries, pipes


def make_room(concurrency: int | Literal["auto"]) -> None:
    """Raise the process's own limit to what so many calls in flight need, as far as the machine lets it.

    Raises UsageError when a number was asked for that the machine has no room for.
    """
    needed = (CEILING if concurrency == "auto" else concurrency) + _OTHERS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    if most < needed and concurrency != "auto":
        raise UsageError(
            f"concurrency {concurrency:,} needs {needed:,} open files, and this process may have {hard:,}",
            hint=f"raise the limit (ulimit -n), or use --concurrency {max(1, hard - _OTHERS):,}",
        )
