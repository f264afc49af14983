"""One model's prices at one tier, whoever wrote them down."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from llmbatch.types import Usage

NOTHING = Decimal(0)
_UNKNOWN = Decimal("Infinity")  #: of a model that writes nothing, an embedding's


@dataclass(frozen=True, slots=True)
class Rates:
    """Dollars per token for calls with more than ``above`` input tokens; None where no price is known."""

    input: Decimal | None
    output: Decimal | None
    cached: Decimal | None
    cache_write: Decimal | None
    reasoning: Decimal | None
    call: Decimal = NOTHING  #: dollars per call
    above: int = -1

    def cost(self, usage: Usage) -> Decimal | None:
        """Dollars; None when a kind of token that was used has no price, or the parts exceed their whole."""
        fresh = usage.input - usage.cached - usage.cache_write
        spoken = usage.output - usage.reasoning
        total = self.call
        for tokens, rate in (
            (fresh, self.input),
            (usage.cached, self.cached),
            (usage.cache_write, self.cache_write),
            (spoken, self.output),
            (usage.reasoning, self.reasoning),
        ):
            if tokens < 0 or (tokens and rate is None):
                return None
            if tokens and rate is not None:
                total += tokens * rate
        return total

    @property
    def dearest(self) -> Ceiling | None:
        """What a call can cost at most: every token of the dearest kind of its side."""
        if self.input is None:
            return None
        dearest_in = max(rate for rate in (self.input, self.cached, self.cache_write) if rate is not None)
        outputs = [_UNKNOWN] if self.output is None else [self.output]
        dearest_out = max(*outputs, self.reasoning or NOTHING)
        return Ceiling(self.above, self.call, dearest_in, dearest_out)


@dataclass(frozen=True, slots=True)
class Ceiling:
    """Dollars per call, per input token and per output token, at most, above so many input tokens.

    ``output`` is infinite where its price is unknown.
    """

    above: int
    call: Decimal
    input: Decimal
    output: Decimal

    def covers(self, other: Ceiling) -> bool:
        """Whether it is at least as dear wherever the other holds."""
        mine, theirs = (self.call, self.input, self.output), (other.call, other.input, other.output)
        return self.above <= other.above and all(a >= b for a, b in zip(mine, theirs, strict=True))

    def cost(self, input_tokens: int, output_tokens: int) -> Decimal | None:
        """Dollars; None when output that may come has no price."""
        dollars = self.call + input_tokens * self.input + (output_tokens * self.output if output_tokens else NOTHING)
        return dollars if dollars.is_finite() else None


@dataclass(frozen=True, slots=True)
class Prices:
    """One model at one tier."""

    steps: tuple[Rates, ...]  #: ascending ``above``: long inputs may cost more for the whole call
    at_other_times: tuple[Rates, ...] = ()  #: what it costs at other hours, or from a date to come
    fixed: bool = True  #: does not depend on the clock
    usd_per_hour: Decimal | None = None  #: a server of one's own: its time costs, and no token does

    def cost(self, usage: Usage) -> Decimal | None:
        """Dollars of a call now; None when unknown, and when it is the hour that costs."""
        return next(step for step in reversed(self.steps) if usage.input > step.above).cost(usage)

    def expected(self, tokens: tuple[float, float, float, float, float]) -> float | None:
        """Dollars of an average call now, by its input, cached, cache-write, output and reasoning tokens."""
        whole, cached, cache_write, output, reasoning = tokens
        rates = next(step for step in reversed(self.steps) if whole > step.above)
        total = float(rates.call)
        for count, rate in (
            (whole - cached - cache_write, rates.input),
            (cached, rates.cached),
            (cache_write, rates.cache_write),
            (output - reasoning, rates.output),
            (reasoning, rates.reasoning),
        ):
            if count and rate is None:
                return None
            total += count * float(rate or 0)
        return total


def ceilings(some: Iterable[Prices]) -> tuple[Ceiling, ...] | None:
    """The fewest ceilings that hold for all of these prices at any time; None when one has no bound."""
    found: list[Ceiling] = []
    for prices in some:
        for rates in (*prices.steps, *prices.at_other_times):
            ceiling = rates.dearest
            if ceiling is None:
                return None
            if not any(other.covers(ceiling) for other in found):
                found = [*(other for other in found if not ceiling.covers(other)), ceiling]
    return tuple(found)
