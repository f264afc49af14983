"""The one way in which calls about files and batches are asked again."""

from __future__ import annotations

import random
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from llmbatch.errors import Decision, ProviderDown, Refused, Rejected
from llmbatch.halt import Halt
from llmbatch.limits import backoff

T = TypeVar("T")


class Patience:
    """Asks until there is an answer: after faults that may pass, with backoff, for ``patience_s`` at most.

    Raises ProviderDown for a refusal, and when nothing was answered for so long; Stop when the run ends meanwhile.
    """

    def __init__(self, halt: Halt, patience_s: float) -> None:
        self._halt = halt
        self._patience_s = patience_s
        self._rng = random.Random()

    async def insist(
        self, call: Callable[[], Awaitable[T]], *, between: Callable[[], Awaitable[None]] | None = None
    ) -> T:
        """The answer of a call that may be repeated; ``between`` tidies up after a fault."""
        trial = self.trial()
        while True:
            try:
                return await call()
            except Decision as error:
                await trial.failed(error)
            if between is not None:
                await between()

    def trial(self) -> Trial:
        """A call that is about to be made, for those that cannot be wrapped."""
        return Trial(self._halt, self._patience_s, self._rng)


class Trial:
    """How often one call failed, and since when."""

    def __init__(self, halt: Halt, patience_s: float, rng: random.Random) -> None:
        self._halt = halt
        self._patience_s = patience_s
        self._rng = rng
        self._give_up = time.monotonic() + patience_s
        self._failures = 0

    async def failed(self, error: Decision) -> None:
        """Wait before the next try. Raises ProviderDown when there is to be none, Stop when the run ends."""
        if isinstance(error, Refused | Rejected):
            raise ProviderDown(f"the provider refuses: {error.message}") from None
        self._failures += 1
        pause = backoff(self._failures, self._rng) if error.retry_after is None else error.retry_after * 1.1
        if time.monotonic() + pause > self._give_up:
            raise ProviderDown(f"no answer about batches for {self._patience_s:,.0f} s: {error.message}") from None
        await self._halt.sleep(pause)
