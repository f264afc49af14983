"""RunReport -> the tables of the page: a list of rows of cells."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import groupby

from llmbatch.report import words
from llmbatch.report.bill import per_1000
from llmbatch.report.details import RowCalls
from llmbatch.report.model import LimitChange, RunReport
from llmbatch.report.words import count, latency, number_of, share, usd

_ROWS = 5  #: slowest and dearest that are shown
_CLASSES = 8  #: classes of failures whose examples are shown
_REASONS = 20
VERSION_HEADS = ("Version", "Score", "Invalid", "p50", "Per 1,000 answers", "Dollars")
_NUMBER = re.compile(r"[\d.]+")


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell: its text, and a smaller line below."""

    main: str
    sub: str = ""


Row = list[Cell]


def failures(report: RunReport) -> list[dict[str, object]]:
    """Each class with its count and, of the largest, its examples."""
    total = report.rows.total
    classes = [("failed", name, rows) for name, rows in report.failures.items()]
    classes += [("skipped", name, rows) for name, rows in report.skips.items()]
    return [
        {
            "name": name,
            "status": status,
            "rows": words.number_of(rows, "row"),
            "share": share(rows, total),
            "examples": list(_examples(report, status, name)) if number < _CLASSES else [],
        }
        for number, (status, name, rows) in enumerate(classes)
    ]


def left_off(report: RunReport) -> int:
    """Classes that are shown without examples."""
    return max(0, len(report.failures) + len(report.skips) - _CLASSES)


def _examples(report: RunReport, status: str, name: str) -> Iterator[dict[str, object]]:
    for row in report.examples:
        if (row.status, row.failure) == (status, name):
            label = f"row {count(row.row_no)}" + (f", id {row.id}" if row.id is not None else "")
            yield {"row": label, "place": row.place, "problem": row.problem, "text": row.text}


def attempts(report: RunReport) -> list[Row]:
    """Calls by what became of them."""
    sums = report.attempts
    kinds = {
        "answered, valid": sums.ok,
        "answered, invalid": sums.invalid,
        "rate limited": sums.rate_limited,
        "timed out": sums.timeout,
        "transient fault": sums.transient,
        "rejected": sums.rejected,
        "refused": sums.refused,
    }
    return [[Cell(kind), Cell(count(n)), Cell(share(n, sums.sent))] for kind, n in kinds.items() if n]


def models(report: RunReport) -> list[Row]:
    """The bill by returned model."""
    return [
        [
            Cell(model.model, f"{count(model.unpriced_attempts)} unpriced" if model.unpriced_attempts else ""),
            Cell(usd(model.cost_usd)),
            Cell(count(model.attempts)),
            Cell(count(model.input), f"{count(model.cached)} cached" if model.cached else ""),
            Cell(count(model.output), f"{count(model.reasoning)} reasoning" if model.reasoning else ""),
        ]
        for model in report.cost.by_model
    ]


def models_total(report: RunReport) -> Row:
    """Its last line."""
    sums, answers = report.tokens, sum(model.attempts for model in report.cost.by_model)
    return [
        Cell("Total"),
        Cell(usd(report.cost.total_usd)),
        Cell(count(answers)),
        Cell(count(sums.input), f"{count(sums.cached)} cached" if sums.cached else ""),
        Cell(count(sums.output), f"{count(sums.reasoning)} reasoning" if sums.reasoning else ""),
    ]


def tiers(report: RunReport) -> list[Row]:
    """The bill by service tier; empty when there is only the standard one."""
    found = report.cost.by_tier
    if [tier.tier for tier in found] in ([], ["standard"]):
        return []
    return [[Cell(tier.tier), Cell(usd(tier.cost_usd)), Cell(count(tier.attempts))] for tier in found]


def versions(report: RunReport) -> list[Row]:
    """Every prompt version beside the others; empty when there has been only one."""
    found = report.cost.by_prompt_version
    if len(found) < 2:
        return []
    return [
        [
            Cell(version.prompt_version[:12], version.label or ""),
            Cell("-" if version.score is None else f"{version.score:.1%}"),
            Cell("-" if version.invalid_rate is None else f"{version.invalid_rate:.1%}"),
            Cell(latency(version.p50_ms)),
            Cell(usd(per_1000(version.cost_usd, version.attempts)) if version.attempts else "-"),
            Cell(usd(version.cost_usd), f"{number_of(version.attempts, 'answer')}, {number_of(version.runs, 'run')}"),
        ]
        for version in found
    ]


def dollars(report: RunReport) -> list[dict[str, object]]:
    """Where the dollars went and what was saved, with bars of one scale; parts that are nothing are left out."""
    cost, waste = report.cost, report.cost.invalid_usd
    valid = cost.total_usd - waste if cost.total_usd is not None and waste is not None else cost.total_usd
    attempts, reused = report.attempts, report.rows.reused
    invalid, lost = attempts.invalid, attempts.possibly_paid_twice
    parts = [
        (f"Paid for {words.number_of(attempts.ok, 'valid answer')}", valid if attempts.ok else None, "paid"),
        (f"Paid for {words.number_of(invalid, 'invalid answer')}", waste if invalid else None, "wasted"),
        (f"May be billed for {words.number_of(lost, 'lost call')}, at most",
         cost.possibly_paid_usd if lost else None, "maybe"),
        (f"Saved by reuse of {words.number_of(reused, 'row')}", cost.saved_by_reuse_usd if reused else None, "saved"),
        ("Saved by the provider's cache", cost.saved_by_cache_usd or None, "saved"),
        ("Saved by a cheaper tier", cost.saved_by_tier_usd or None, "saved"),
    ]  # fmt: skip
    known = [(name, part, kind) for name, part, kind in parts if part is not None]
    most = max((part for _, part, _ in known), default=Decimal(0))
    return [
        {
            "name": name,
            "dollars": usd(part),
            "kind": kind,
            "width": round(max(float(part / most) * 1000, 4.0 if part > 0 else 0.0), 1) if most > 0 else 0.0,
        }
        for name, part, kind in known
    ]


def planned(report: RunReport) -> list[Row]:
    """Planned against actual."""
    plan = report.planned
    if plan is None:
        return []
    actual = report.attempts.ok + report.attempts.invalid
    rows = [
        ("Calls", plan.calls, actual),
        ("Input tokens", plan.input_tokens, report.tokens.input),
        ("Output tokens", plan.output_tokens, report.tokens.output),
    ]
    table = [[Cell(name), Cell(count(a)), Cell(count(b)), Cell(_off(a, b))] for name, a, b in rows]
    if plan.cost_usd is not None:
        span, paid = plan.cost_usd, report.cost.total_usd
        off = "" if paid is None else _off(float(span.likely), float(paid))
        likely = Cell(usd(span.likely), f"{usd(span.low)} to {usd(span.high)}")
        table.append([Cell("Dollars"), likely, Cell(usd(paid)), Cell(off)])
    return table


def _off(planned: float, actual: float) -> str:
    if not planned:
        return "-"
    return f"{actual / planned - 1:+.0%}" if actual < 10 * planned else f"{actual / planned:,.0f} times"


def limits(report: RunReport) -> list[Row]:
    """Why limits changed: alike reasons in one line, the first of them first."""
    found: dict[tuple[str, str], list[LimitChange]] = {}
    for change in report.limits.changes:
        found.setdefault((change.what, _NUMBER.sub("", change.reason)), []).append(change)
    return [_reason(changes) for changes in list(found.values())[:_REASONS]]


def _reason(changes: Sequence[LimitChange]) -> Row:
    first, last = changes[0], changes[-1]
    if first.what == "pause":
        led_to = f"paused {words.duration(sum(change.value or 0 for change in changes))}"
    elif first.what == "breaker":
        led_to = "sending stopped, single probes" if last.value else "sending again"
    else:
        values = [words.limit(change).rpartition(" ")[2] for change in changes]
        shown = [value for value, _ in groupby(values)]
        led_to = f"{first.what.replace('_', ' ')} " + " to ".join(shown if len(shown) < 3 else (shown[0], shown[-1]))
    when = f"at {words.duration(first.at_s)}"
    if len(changes) > 1:
        span = words.duration(first.at_s), words.duration(last.at_s)
        when = f"{count(len(changes))} times, {' to '.join(dict.fromkeys(span))}"
    return [Cell(last.reason, when), Cell(led_to)]


def calls(rows: Sequence[RowCalls]) -> list[Row]:
    """The first five of the slowest or the dearest rows."""
    return [
        [
            Cell(f"row {count(row.row_no)}", "" if row.id is None else f"id {row.id}"),
            Cell(words.latency(row.seconds * 1000)),
            Cell(usd(row.cost_usd)),
            Cell(count(row.attempts)),
        ]
        for row in rows[:_ROWS]
    ]
