"""Which fault meets which request: decided by a seeded hash, so the same requests meet the same faults in any order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from hashlib import blake2b

from llmbatch.simulator.scenario import Fault


def draw(seed: int, fault_no: int, request: str, nth: int) -> float:
    """A number in [0, 1) that depends on its arguments alone."""
    digest = blake2b(f"{seed}:{fault_no}:{request}:{nth}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


class Plan:
    """The faults of a scenario, and how often each request has asked.

    Faults with a window keep a count of their own, so that an outage does not change what else a request meets.
    """

    def __init__(self, seed: int, faults: Sequence[Fault]) -> None:
        self._seed = seed
        self._windowed = [(no, f) for no, f in enumerate(faults) if f.windowed]
        self._timeless = [(no, f) for no, f in enumerate(faults) if not f.windowed]
        self._asked_in_window: Counter[str] = Counter()
        self._asked: Counter[str] = Counter()

    def fault(self, request: str, text: str, since_first_s: float, applies: Callable[[Fault], bool]) -> Fault | None:
        """The fault that this ask meets: windowed ones first, then in the scenario's order.

        Args:
            request: stands for the request over its asks; repeatability hangs on it.
            text: the user message that ``match`` is looked for in.
            since_first_s: seconds since the first request.
            applies: whether a fault can be applied to this request at all.
        """
        if active := [(no, f) for no, f in self._windowed if f.active(since_first_s)]:
            nth = self._asked_in_window[request]
            self._asked_in_window[request] += 1
            if hit := self._first(active, request, text, nth, applies):
                return hit
        if not self._timeless:
            return None
        nth = self._asked[request]
        self._asked[request] += 1
        return self._first(self._timeless, request, text, nth, applies)

    def _first(
        self, faults: list[tuple[int, Fault]], request: str, text: str, nth: int, applies: Callable[[Fault], bool]
    ) -> Fault | None:
        for no, fault in faults:
            if (
                (fault.times is None or nth < fault.times)
                and (fault.match is None or fault.match in text)
                and draw(self._seed, no, request, nth) < fault.share
                and applies(fault)
            ):
                return fault
        return None
