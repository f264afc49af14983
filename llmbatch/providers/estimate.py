"""How many tokens a call will use, for the tokens a minute. The budget has a hard bound of its own."""

from __future__ import annotations

from llmbatch.types import Request, Usage


class TokenEstimate:
    """What a call will use of the tokens a minute: its bytes by a ratio, its output by an average, both learned."""

    def __init__(self) -> None:
        self._tokens_per_byte = 0.3
        self._output: float | None = None

    def tokens(self, request: Request) -> int:
        """Estimated tokens of the next call for a request, in and out."""
        output = self._output
        if output is None:
            output = float(request.params.get("max_completion_tokens") or request.params.get("max_tokens") or 256)
        return max(1, round(_size(request) * self._tokens_per_byte + output))

    def learn(self, request: Request, usage: Usage) -> None:
        """Move the averages a little towards what came back."""
        ratio = usage.input / max(_size(request), 1)
        self._tokens_per_byte += 0.05 * (ratio - self._tokens_per_byte)
        self._output = usage.output if self._output is None else self._output + 0.05 * (usage.output - self._output)


def _size(request: Request) -> int:
    return sum(len(m["content"].encode()) for m in (*request.messages, *request.turns))
