"""Tells a limit on calls at once from a limit on calls a minute, by the calls that are refused. Pure."""

from __future__ import annotations

from collections import deque

_KEPT = 200  #: the latest calls
_REFUSED, _ANSWERED = 3, 10  #: calls of each kind that a judgement takes
_STRAY = 0.05  #: part of the answers that may contradict: client and server never count the same calls at once


class Crowd:
    """Where a server refuses calls that come while so many others are in flight, and answers those below.

    Of a limit a minute the refused calls are any: as many calls were in flight when others were answered.
    """

    def __init__(self) -> None:
        self._calls: deque[tuple[int, bool]] = deque(maxlen=_KEPT)
        self._bears: int | None = None  #: what was found before: to confirm that, one refusal is enough

    def answered(self, beside: int) -> None:
        """A call was answered that was let go while so many others were in flight."""
        self._calls.append((beside, False))

    def refused(self, beside: int) -> int | None:
        """A call was refused; how many calls the server bears at once, None when that is not what it is about."""
        self._calls.append((beside, True))
        refused = [n for n, was_refused in self._calls if was_refused]
        answered = [n for n, was_refused in self._calls if not was_refused]
        bears = min(refused)
        if len(refused) < (1 if bears == self._bears else _REFUSED) or len(answered) < _ANSWERED:
            return None
        strays = sum(n >= bears for n in answered)
        if not bears or strays > _STRAY * len(answered):
            return None
        self._calls.clear()  # calls are judged once
        self._bears = bears
        return bears
