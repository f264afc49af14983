"""What a campaign of kills brought, in figures."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence

from tests.campaign.kill import Campaign, Kill
from tests.campaign.moments import EARLY, LATE
from tests.campaign.nights import CONCURRENCY

_STEPS = (0, 8, 16, 24, 32, 48, 64, 96)  #: the distribution's classes: up to and with


def told(done: Campaign, *, rows: int, seconds: float) -> str:
    """Everything, as text."""
    kills, ages = done.kills, sorted(done.ages_ms)
    torn = [kill.torn for kill in kills if kill.torn]
    how = ", ".join(f"{count} {how}" for how, count in sorted(Counter(each.how for each in torn).items()))
    by_hand = sum(each.by_hand for each in torn)
    lines = [
        table(kills),
        "",
        distribution(kills),
        "",
        f"{len(kills)} kills in {done.nights} nights of {rows:,} rows, {CONCURRENCY} calls in flight; {seconds:.0f} s",
        f"power cuts among them: {len(torn)} ({how}), up to {max((each.lost for each in torn), default=0):,} bytes; "
        f"{by_hand} were refused and mended by doctor --repair, attempts dropped: 0",
        "stored replies lost: 0; nights that ended otherwise than the unbroken one: 0; paid for by further runs: 0",
        f"an answer was durable after {_at(ages, 0.5):.0f} ms (median), {_at(ages, 0.99):.0f} ms (p99), "
        f"{_at(ages, 1):.0f} ms (most) in {len(ages):,} commits; over 100 ms in {sum(age > 100 for age in ages)}",
    ]
    return "\n".join(lines)


def table(kills: Sequence[Kill]) -> str:
    """Replies paid twice per kill, by the moment of the kill."""
    head = ("killed while", "kills", "median", "p95", "most", "of them answered", "oldest, ms")
    by_moment = {moment.__name__: [k for k in kills if k.moment is moment] for moment in (*EARLY, *LATE)}
    return _aligned([head] + [_line(name, some) for name, some in {**by_moment, "all": list(kills)}.items() if some])


def _line(name: str, kills: Sequence[Kill]) -> tuple[str, ...]:
    twice = sorted(kill.paid_twice for kill in kills)
    answered, oldest = max(kill.answered for kill in kills), max(kill.oldest_ms for kill in kills)
    median, p95 = statistics.median_low(twice), _at(twice, 0.95)
    return name, *map(str, (len(kills), median, p95, twice[-1], answered, round(oldest)))


def distribution(kills: Sequence[Kill]) -> str:
    """How many kills cost how many replies paid twice."""
    twice = [kill.paid_twice for kill in kills]
    lines = [("replies paid twice", "kills")]
    for low, high in zip((-1, *_STEPS), (*_STEPS, 10**9), strict=False):
        count = sum(low < each <= high for each in twice)
        name = "0" if high == 0 else f"{low + 1} to {high}" if high < 10**9 else f"over {low}"
        lines += [(name, str(count))] if count else []
    return _aligned(lines)


def _aligned(lines: Sequence[Sequence[str]]) -> str:
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    return "\n".join("| " + " | ".join(map(str.ljust, line, widths)) + " |" for line in lines)


def _at(ordered: Sequence[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, round(share * len(ordered)))]
