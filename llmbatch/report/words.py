"""How a report speaks: numbers, names and the sentence that says how the run ended. Shared by text and HTML."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import asdict
from decimal import Decimal

from llmbatch.errors import Exit
from llmbatch.report.model import LimitChange, RunReport

_UNSAFE = {"Cc", "Cf", "Cs", "Zl", "Zp"}  #: controls, invisible formatting, lone surrogates, line separators
_MOST_NOTES = 12
_JOINERS = {"\u200c", "\u200d"}  #: needed to spell words and emoji; they reorder nothing

WAITING = "waiting"  #: status of a run that left batches at the provider and ended as it should
_HEADS: Mapping[int, str] = {
    Exit.OK: "Finished",
    Exit.TOO_MANY_FAILED: "Finished, but too many rows failed",
    Exit.QUALITY: "Finished, but the quality gate failed",
    Exit.BUDGET: "Stopped at the budget",
    Exit.DEADLINE: "Stopped at the deadline",
    Exit.PROVIDER: "Stopped, the provider refused or could not be reached",
    Exit.STORAGE: "Stopped, a file could not be read or written",
    Exit.SIGHUP: "Interrupted",
    Exit.SIGINT: "Interrupted",
    Exit.SIGTERM: "Interrupted",
    Exit.BUG: "Stopped by a fault in llmbatch",
}
_RESUMABLE = {Exit.BUDGET, Exit.DEADLINE, Exit.SIGHUP, Exit.SIGINT, Exit.SIGTERM}


def plain(text: str) -> str:
    """Foreign text made harmless to a terminal and a reader: whatever cannot be seen is spelt out (``\\x1b``)."""
    return "".join(
        char.encode("unicode_escape").decode()
        if unicodedata.category(char) in _UNSAFE and char not in _JOINERS
        else char
        for char in text
    )


def count(number: int) -> str:
    """1,234,567."""
    return f"{number:,}"


def share(part: int, whole: int) -> str:
    """A part in per cent; never "100%" or "0%" for a part that is not the whole or nothing."""
    if whole == 0:
        return "-"
    percent = 100 * part / whole
    if 0 < percent < 0.1:
        return "<0.1%"
    if 99.9 < percent < 100:
        return ">99.9%"
    return f"{percent:.1f}".removesuffix(".0") + "%"


def usd(dollars: Decimal | None) -> str:
    """Dollars with as many places as a small sum needs; "unknown" for None."""
    if dollars is None:
        return "unknown"
    if 0 < dollars < Decimal("0.000001"):
        return "<$0.000001"
    if dollars == 0 or dollars >= 100:
        return f"${dollars:,.2f}"
    text = f"${dollars:.6f}" if dollars < Decimal("0.01") else f"${dollars:.4f}"
    return text[:-2] if text.endswith("00") else text


def duration(seconds: float) -> str:
    """A span that a person can grasp: 0.4 s, 42 s, 3 min 05 s, 2 h 07 min."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min"


def latency(milliseconds: float | None) -> str:
    """320 ms, 1.25 s, 2 min 05 s; a dash for None."""
    if milliseconds is None:
        return "-"
    if milliseconds < 999.5:
        return f"{milliseconds:.3g} ms" if milliseconds < 100 else f"{milliseconds:.0f} ms"
    return f"{milliseconds / 1000:.3g} s" if milliseconds < 59_950 else duration(milliseconds / 1000)


def rate(rows_per_s: float | None) -> str:
    """Rows a second; a dash for None."""
    if rows_per_s is None:
        return "-"
    return f"{rows_per_s:,.0f} rows/s" if rows_per_s >= 100 else f"{rows_per_s:.3g} rows/s"


def number_of(number: int, one: str, many: str | None = None) -> str:
    """1 row, 2 rows."""
    return f"{count(number)} {one if number == 1 else many or one + 's'}"


def outcome(report: RunReport) -> str:
    """How the run ended, in one sentence."""
    rows = report.rows
    head = _HEADS.get(report.exit_code, f"Ended with exit status {report.exit_code}")
    if report.status == "below_floor":
        head = "Stopped, too few gold rows were answered as they should be"
    if report.status == WAITING:
        head = "Waiting for batches at the provider"
    if rows.total == 0:
        return f"{head}: the input has no rows."
    rest = ((rows.failed, "failed"), (rows.skipped, "skipped"), (rows.pending, "pending"))
    parts = [f"{count(rows.valid)} of {number_of(rows.total, 'row')} valid"]
    parts += [f"{count(number)} {word}" for number, word in rest if number]
    return f"{head}: {', '.join(parts)}."


def level(report: RunReport) -> str:
    """How good an end it is: "ok", "warn" (stopped as asked, resumable) or "bad"."""
    if report.status == WAITING:
        return "warn"
    if report.exit_code == Exit.OK:
        return "ok"
    return "warn" if report.exit_code in _RESUMABLE else "bad"


def reconciliation(report: RunReport) -> str:
    """The sum over the outcomes, and a plain word if it is wrong."""
    rows = report.rows
    parts = ("done", "reused", "failed", "skipped", "pending")
    total = " + ".join(f"{count(getattr(rows, part))} {part}" for part in parts)
    return f"{count(rows.total)} = {total}" + ("" if report.reconciles else "  (THE COUNTS DO NOT ADD UP)")


def listing(counts: Mapping[str, int]) -> str:
    """The counts that are not 0: ``3 schema, 1 timeout``."""
    return ", ".join(f"{count(number)} {plain(word)}" for word, number in counts.items() if number)


def changes(report: RunReport) -> str | None:
    """This input against the run before it; None when there is none."""
    if report.changes is None:
        return None
    now = report.changes
    return listing({"reused": now.reused, "new": now.new, "changed": now.changed or 0, "gone": now.gone}) or "no rows"


def attempts(report: RunReport) -> str:
    """Calls by what became of them."""
    sums = asdict(report.attempts)
    kinds = ("ok", "invalid", "rate_limited", "timeout", "transient", "rejected", "refused")
    parts = listing({kind.replace("_", " "): sums[kind] for kind in kinds})
    beside = f"; {count(sums['hedged'])} beside a slow one" if sums["hedged"] else ""
    return f"{count(report.attempts.sent)} sent" + (f": {parts}" if parts else "") + beside


def total(report: RunReport) -> str:
    """The bill in a line: the sum, the budget it stands against, and where the prices are from."""
    budget = report.limits.budget_usd
    against = "" if budget is None else f" of a budget of {usd(budget)}"
    return f"{usd(report.cost.total_usd)}{against} (prices: {plain(report.cost.price_source)})"


def cost_remarks(report: RunReport) -> tuple[str, ...]:
    """What the total does not say: waste, savings, and what has no price."""
    cost, remarks = report.cost, []
    if report.attempts.invalid:
        remarks.append(f"Spent on {number_of(report.attempts.invalid, 'invalid answer')}: {usd(cost.invalid_usd)}")
    if report.rows.reused:
        remarks.append(f"Saved by {number_of(report.rows.reused, 'reused row')}: {usd(cost.saved_by_reuse_usd)}")
    if cost.saved_by_cache_usd:
        remarks.append(f"Saved by the provider's cache: {usd(cost.saved_by_cache_usd)}")
    if cost.saved_by_tier_usd:
        remarks.append(f"Saved by a cheaper tier: {usd(cost.saved_by_tier_usd)}")
    return (*remarks, *unpriced_remarks(report), *judging(report))


def unpriced_remarks(report: RunReport) -> tuple[str, ...]:
    """What has no price, or may be billed beside the total."""
    cost, answered = report.cost, sum(model.attempts for model in report.cost.by_model)
    remarks = []
    if cost.unpriced_attempts:
        has = "has" if cost.unpriced_attempts == 1 else "have"
        remarks.append(
            f"{count(cost.unpriced_attempts)} of {number_of(answered, 'answer')} {has} no known price"
            " and no place in the total"
        )
    if lost := report.attempts.possibly_paid_twice:
        most = "" if cost.possibly_paid_usd is None else f", for {usd(cost.possibly_paid_usd)} at most"
        remarks.append(f"{number_of(lost, 'attempt')} brought nothing and may be on the provider's bill{most}")
    return tuple(remarks)


def judging(report: RunReport) -> tuple[str, ...]:
    """What graders that ask a model cost, beside the total."""
    return tuple(
        f"Judging by grader {plain(one.grader)}, beside the total: {usd(one.cost_usd)}, {number_of(one.calls, 'call')}"
        + (f" in {one.runs} runs" if one.runs > 1 else "")
        for one in report.judging
    )


def planned(report: RunReport) -> str | None:
    """What was expected against what came; None when nothing was."""
    plan = report.planned
    if plan is None:
        return None
    parts = [f"{count(plan.input_tokens)} input, {count(plan.output_tokens)} output"]
    if plan.cost_usd is not None:
        span = plan.cost_usd
        parts.append(f"{usd(span.likely)} ({usd(span.low)} to {usd(span.high)}){_off(report)}")
    return f"{', '.join(parts)}; rests on {plain(plan.basis)}"


def _off(report: RunReport) -> str:
    """How far the bill is from the plan: ", the bill is 4% above it"."""
    plan, actual = report.planned, report.cost.total_usd
    if plan is None or plan.cost_usd is None or actual is None or not plan.cost_usd.likely:
        return ""
    off = float(actual / plan.cost_usd.likely) - 1
    if off < 0 and report.rows.pending:
        return ""  # the rest is yet to be paid
    return f", the bill is {abs(off):.0%} {'above' if off > 0 else 'below'} it"


def identity(report: RunReport) -> str:
    """Which run of what."""
    label = f" ({report.prompt_label})" if report.prompt_label else ""
    parts = [f"{report.run_id} of {report.pipeline}", f"prompt {report.prompt_version[:12]}{label}"]
    parts += [f"model {report.model}"] if report.model else []
    return plain(", ".join(parts))


def timing(report: RunReport) -> str:
    """When, how long and how fast."""
    span = plain(f"{report.started_at} to {report.ended_at}")
    return f"{span}, {duration(report.wall_s)}, {rate(report.throughput.rows_per_s)}"


def tokens(report: RunReport) -> str:
    """Tokens by kind."""
    sums = report.tokens
    cached = f" ({count(sums.cached)} cached)" if sums.cached else ""
    reasoning = f" ({count(sums.reasoning)} reasoning)" if sums.reasoning else ""
    return f"{count(sums.input)} input{cached}, {count(sums.output)} output{reasoning}"


def latencies(report: RunReport) -> str:
    """Quantiles of the answers' latency."""
    shown = report.latency_ms
    return f"p50 {latency(shown.p50)}, p95 {latency(shown.p95)}, p99 {latency(shown.p99)}"


def notes(report: RunReport) -> tuple[str, ...]:
    """The last dozen notes, and how many there are before them: ``--verbose`` makes one of each change of a limit."""
    told = {f"tier {one.tier}: {one.reason}" for one in report.schedule.decisions} if report.schedule else set()
    shown = tuple(note for note in report.notes if note not in told)
    left_off = len(shown) - _MOST_NOTES
    if left_off <= 1:
        return shown
    return (f"{count(left_off)} notes before these are in report.json", *shown[left_off:])


def limit(change: LimitChange) -> str:
    """What a change of limits led to: "concurrency 32"."""
    value = "none" if change.value is None else f"{change.value:,.6g}"
    return f"{change.what.replace('_', ' ')} {value}" + (f" of {plain(change.model)}" if change.model else "")


def concurrency(report: RunReport) -> str:
    """How many calls were in flight at the end."""
    changed = number_of(sum(change.what == "concurrency" for change in report.limits.changes), "change")
    return f"{report.limits.concurrency_final} at the end, after {changed}"
