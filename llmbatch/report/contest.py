"""Comparison -> text and JSON: candidates beside each other, cheapest first, and the one that is named."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from pydantic import TypeAdapter

from llmbatch.candidates import Candidate, Certificate, Comparison
from llmbatch.report.quality import aligned, percent, span
from llmbatch.report.words import count, latency, number_of, plain, usd

_WIDE = 40  #: characters of the chart
HEAD = ["candidate", "score", "95 %", "$/1,000", "flex", "batch", "p50", "p95", "invalid", "failed", "rows/hour"]


def to_json(found: Comparison) -> dict[str, Any]:
    """The comparison, ready for a JSON encoder."""
    shape: dict[str, Any] = TypeAdapter(Comparison).dump_python(found, mode="json")
    return shape


def text(found: Comparison) -> str:
    """The comparison for a terminal."""
    return "\n".join(_lines(found))


def _lines(found: Comparison) -> Iterator[str]:
    yield head(found)
    yield ""
    yield from aligned([HEAD, *map(cells, found.candidates)])
    yield ""
    yield from _chart(found.candidates)
    yield "  * no other candidate is as good for less, or better for as much"
    yield ""
    yield from (f"{name}: {line}" for name, line in certified(found))
    yield paid(found)
    yield found.reason
    if found.written is not None:
        yield f"written to {plain(found.written)}"


def head(found: Comparison) -> str:
    """What was compared."""
    rows = f"{count(found.rows)} of {number_of(found.total, 'row')} each (seed {found.seed})"
    who = number_of(len(found.candidates), "candidate")
    return f"{plain(found.pipeline)}: {who}, {rows}, by grader {plain(found.grader)}, at tier {found.tier}"


def cells(one: Candidate) -> list[str]:
    """A candidate's line of the table."""
    return [
        f"{'*' if one.efficient else ' '} {plain(one.name)}",
        percent(one.mean),
        span(one.interval),
        *(dollars(one.usd_per_1000[tier]) for tier in ("standard", "flex", "batch")),
        latency(one.p50_ms),
        latency(one.p95_ms),
        "-" if one.invalid_rate is None else percent(one.invalid_rate),
        count(one.failed),
        "-" if one.rows_per_hour is None else count(round(one.rows_per_hour)),
    ]


def dollars(amount: float | None) -> str:
    """Dollars; a dash where no price is known."""
    return "-" if amount is None else usd(Decimal(repr(amount)))


def _chart(candidates: tuple[Candidate, ...]) -> Iterator[str]:
    """Each candidate's score and interval on one scale."""
    low = min(one.interval.low for one in candidates)
    high = max(one.interval.high for one in candidates)
    wide = max((high - low), 1e-9)
    names = [plain(one.name) for one in candidates]
    longest = max(map(len, names))

    def place(share: float) -> int:
        return round((share - low) / wide * (_WIDE - 1))

    yield f"    {'':<{longest}}  {percent(low):<{_WIDE // 2}}{percent(high):>{_WIDE // 2}}"
    for name, one in zip(names, candidates, strict=True):
        start, end = place(one.interval.low), place(one.interval.high)
        line = " " * start + "-" * (end - start + 1)
        at = place(one.mean)
        yield f"  {'*' if one.efficient else ' '} {name:<{longest}}  {(line[:at] + 'o' + line[at + 1 :]):<{_WIDE}}"


def certified(found: Comparison) -> Iterator[tuple[str, str]]:
    """What the certifying half says, in the order of the tests."""
    for one in found.certificates:
        yield plain(one.name), certificate(one)


def certificate(one: Certificate) -> str:
    """A certificate in a line."""
    seen = f"{percent(one.mean)} of {number_of(one.rows, 'row')} that did not select it, at least {percent(one.lower)}"
    sure = f"{seen} (19 times in 20)"
    if one.target is None:
        return sure
    return f"{'certified' if one.holds else 'NOT certified'} for {percent(one.target)}: {sure}"


def paid(found: Comparison) -> str:
    """What the comparison cost."""
    calls = sum(one.calls for one in found.candidates)
    reused = sum(one.reused for one in found.candidates)
    known = [one.cost_usd for one in found.candidates]
    cost = sum((Decimal(repr(part)) for part in known if part is not None), Decimal(0))
    bill = "price unknown" if None in known else usd(cost)
    return f"this comparison: {number_of(calls, 'call')}, {bill}, {number_of(reused, 'row')} reused; answers are stored"
