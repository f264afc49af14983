"""How large requests are: bytes of all of them, a rule's tokens of a sample, in constant memory."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from llmbatch.extract import count_tokens
from llmbatch.types import Request

_FIRST = 64  #: requests that are always in the sample
_ONE_IN = 32  #: of all others, drawn by their keys
_WHOLE = 4_000  #: characters; of a longer text the rule reads two pieces of half as many
_A_MESSAGE = 4  #: tokens around each message
_PER_OCTAVE = 16


def rule(text: str) -> float:
    """About how many tokens a text has; of a long one by its beginning and its middle. At most 0.5 ms."""
    if len(text) <= _WHOLE:
        return float(count_tokens(text)) if text else 0.0
    half, middle = _WHOLE // 2, len(text) // 2
    pieces = text[:half] + text[middle : middle + half]
    return count_tokens(pieces) * len(text.encode()) / len(pieces.encode())


def frame_tokens(system: str | None) -> float:
    """What all requests of a prompt version have in common, by the rule, without the schema."""
    return _A_MESSAGE + (rule(system) + _A_MESSAGE if system else 0.0)


@dataclass(slots=True)
class Sizes:
    """Of the user messages of requests that a run asks for. ``add`` takes 2 us, and 0.2 ms for one in 32."""

    count: int = 0
    bytes: int = 0
    by_size: dict[int, list[int]] = field(default_factory=dict)  #: requests and bytes, in steps of 4 %
    _sampled_bytes: int = 0
    _sampled_tokens: float = 0.0

    def add(self, request: Request) -> None:
        """Take in a request."""
        text = request.messages[-1]["content"]
        size = len(text.encode())
        self.count += 1
        self.bytes += size
        step = self.by_size.setdefault(round(math.log2(max(size, 1)) * _PER_OCTAVE), [0, 0])
        step[0] += 1
        step[1] += size
        if self.count <= _FIRST or int(request.key[:4], 16) % _ONE_IN == 0:
            self._sampled_bytes += size
            self._sampled_tokens += rule(text)

    @property
    def tokens_per_byte(self) -> float:
        """By the rule, over the sample."""
        return self._sampled_tokens / self._sampled_bytes if self._sampled_bytes else 0.0
