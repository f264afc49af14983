"""A plan for a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from llmbatch.planning.model import Amount, Outline, Plan

_LABEL_WIDTH = 11


def text(plan: Plan) -> str:
    """Lines of label and value, ASCII but for names."""
    return "".join(f"{label:{_LABEL_WIDTH}} {line}".rstrip() + "\n" for label, line in _lines(plan))


def _lines(plan: Plan) -> Iterator[tuple[str, str]]:
    tier = plan.tier if plan.schedule is None else f"auto, priced at {plan.tier}"
    yield "Plan", f"{plan.pipeline}, prompt {plan.prompt_version}, model {plan.model}, tier {tier}"
    yield "Rows", _rows(plan)
    if plan.rows.gone is not None:
        changes = {"new": plan.rows.added or 0, "changed": plan.rows.changed or 0, "gone": plan.rows.gone}
        yield "Changes", _listing(changes) or "none"
    if plan.probed:
        yield "Probe", f"{plan.probed:,} rows were asked, and are stored"
    if not plan.rows.asked:
        yield "Cost", "nothing: there is no row to ask"
        yield from _earlier(plan)
        return
    yield "Calls", f"about {plan.calls.likely:,.0f}, for {plan.rows.asked:,} rows to ask"
    yield "Input", f"{_tokens(plan.input_tokens)}{_cached(plan)}"
    yield "Output", _tokens(plan.output_tokens)
    yield from _dollars(plan)
    yield from _ladder(plan)
    yield "Time", _time(plan)
    if plan.schedule is not None:
        yield from _schedule(plan.schedule)
    yield "Rests on", plan.basis
    yield from _earlier(plan)


def _earlier(plan: Plan) -> Iterator[tuple[str, str]]:
    for label, earlier in zip(["Earlier", *[""] * len(plan.earlier)], plan.earlier, strict=False):
        planned, actual = _usd(earlier.planned_usd), _usd(earlier.actual_usd)
        yield label, f"{earlier.run_id}: planned {planned}, came to {actual} ({earlier.off:+.0%})"


def _rows(plan: Plan) -> str:
    rows = plan.rows
    parts = {
        "reused": rows.reused,
        "new": rows.new,
        "asked again (stored answers are invalid)": rows.reasked,
        "with the request of another row": rows.twins,
        "stay failed": rows.failed,
        "unusable": rows.skipped,
        "over-long": rows.too_long,
    }
    return f"{rows.total:,} = " + (" + ".join(f"{number:,} {word}" for word, number in parts.items() if number) or "0")


def _listing(counts: dict[str, int]) -> str:
    return ", ".join(f"{number:,} {word}" for word, number in counts.items() if number)


def _schedule(outline: Outline) -> Iterator[tuple[str, str]]:
    yield "Schedule", f"due {outline.deadline}; {outline.first} first: {outline.reason}"
    if outline.batches_until is not None:
        yield "", f"batches until {outline.batches_until} at the latest, if nothing is done by then"
    if outline.flex_until is not None:
        yield "", f"flex until {outline.flex_until} at the latest, then standard"


def _tokens(amount: Amount) -> str:
    return f"about {amount.likely:,.0f} tokens ({amount.low:,.0f} to {amount.high:,.0f})"


def _cached(plan: Plan) -> str:
    return f", {plan.cached_tokens:,.0f} of them cached" if round(plan.cached_tokens) else ""


def _dollars(plan: Plan) -> Iterator[tuple[str, str]]:
    if plan.cost_usd is None:
        yield "Cost", f"unknown (prices: {plan.price_source})"
        return
    yield "Cost", f"about {_range(plan.cost_usd)} (prices: {plan.price_source})"
    for tier in plan.tiers:
        if tier.tier != plan.tier and tier.cost_usd.likely != plan.cost_usd.likely:
            yield "", f"at tier {tier.tier} about {_range(tier.cost_usd)}"
    if plan.budget_usd is not None:
        yield "Budget", f"{_usd(plan.budget_usd)} left, {_fits(plan.cost_usd, plan.budget_usd)}"


def _ladder(plan: Plan) -> Iterator[tuple[str, str]]:
    """How many rows come to each model, and how that is known."""
    for at, rung in enumerate(plan.ladder):
        words = f"{rung.model}: about {_rows_of(rung.rows)}"
        if rung.cost_usd is not None:
            words += f", {_range(rung.cost_usd)}"
        if rung.climb_rate is not None:
            rate = rung.climb_rate
            words += f"; {rate.likely:.1%} climb ({rate.low:.1%} to {rate.high:.1%}), by {rung.basis}"
        yield "" if at else "Ladder", words
    for rung in plan.ladder[:-1]:
        if rung.climb_rate is None:
            yield (
                "",
                f"how many rows climb from {rung.model} is not known: between none and all, and the plan takes all;"
                " --probe 100 tells",
            )


def _rows_of(rows: Amount) -> str:
    known = rows.low == rows.high
    return f"{rows.likely:,.0f} rows" + ("" if known else f" ({rows.low:,.0f} to {rows.high:,.0f})")


def _fits(cost: Amount, left: float) -> str:
    if cost.high <= left:
        return "enough"
    return "probably enough" if cost.likely <= left else f"enough for about {left / cost.likely:.0%} of it"


def _range(amount: Amount) -> str:
    return f"{_usd(amount.likely)} ({_usd(amount.low)} to {_usd(amount.high)})"


def _usd(dollars: float) -> str:
    return f"${dollars:,.2f}" if dollars >= 10 or dollars == 0 else f"${dollars:.4f}"


def _time(plan: Plan) -> str:
    if plan.time.limited_by == "batch":
        return "as the provider's batches take, up to a day each; what comes back invalid takes another one"
    if plan.time.seconds is None:
        return "unknown: no limits are set, and no earlier run tells"
    words = {"history": "at the speed of earlier runs"}
    by = words.get(plan.time.limited_by or "", f"at least, by {(plan.time.limited_by or '').replace('_', ' ')}")
    seconds = plan.time.seconds
    span = (
        f"{seconds:.0f} s"
        if seconds < 120
        else f"{seconds / 60:.0f} min"
        if seconds < 7200
        else f"{seconds / 3600:.1f} h"
    )
    return f"about {span}, {by}"
