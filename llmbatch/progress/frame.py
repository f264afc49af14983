"""The live display's picture of one moment."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.text import Text

from llmbatch.progress import words
from llmbatch.progress.snapshot import Snapshot

_NOTES = 3  #: shown, the newest
_GAP = " · "
_PAUSE_S = 0.5  #: a shorter one is not worth a word


def render(now: Snapshot, pipeline: str, width: int) -> Text:
    """A bar, the counts in as many lines as ``width`` columns need, and the newest notes. No line is wider.

    Nothing of the pipeline's name or the notes is taken for markup or for control characters.
    """
    lines = [_bar(now, pipeline, width), *_flow(tuple(_facts(now)), width)]
    lines += [Text(f"! {words.printable(note)}", "yellow") for note in now.notes[-_NOTES:]]
    for line in lines:
        line.truncate(width, overflow="ellipsis")
    return Text("\n", no_wrap=True, overflow="crop").join(lines)


def _bar(now: Snapshot, pipeline: str, width: int) -> Text:
    name = Text(words.printable(pipeline), "bold")
    name.truncate(max(1, width // 3), overflow="ellipsis")
    total = now.rows["total"]
    percent = f"{100 * now.settled // total if total else 0:>4} %"
    room = max(0, width - name.cell_len - len(percent) - 1)
    full = room * now.settled // total if total else 0
    return Text.assemble(name, " ", ("━" * full, "green"), ("─" * (room - full), "dim"), percent)


def _facts(now: Snapshot) -> Iterator[Text]:
    rows, tokens = now.rows, now.tokens
    yield Text(f"{now.settled:,} of {rows['total']:,} rows")
    yield Text("-- rows/s" if now.rows_per_s is None else words.rate(now.rows_per_s))
    yield from _to_go(now)
    allowed = f" of {now.limits.concurrency:,}" if now.limits else ""
    yield Text(words.batches(now.batches) if now.batches else f"{now.in_flight:,}{allowed} in flight")
    yield Text(f"{rows['reused']:,} reused")
    yield Text(f"{rows['failed']:,} failed", "red" if rows["failed"] else "")
    if rows["skipped"]:
        yield Text(f"{rows['skipped']:,} skipped")
    yield Text(f"{words.short(tokens['input'])} + {words.short(tokens['output'])} tokens")
    yield Text(money(now))


def _to_go(now: Snapshot) -> Iterator[Text]:
    """The time left, or why there is none to tell; nothing when every row has its outcome."""
    limits = now.limits
    if not now.rows["pending"]:
        return
    if limits is not None and limits.breaker != "closed":
        soon = limits.breaker == "open" and limits.paused_s > _PAUSE_S
        yield Text(f"provider down, {f'probe in {words.left(limits.paused_s)}' if soon else 'probing'}", "red")
        return
    if limits is not None and limits.paused_s > _PAUSE_S:
        yield Text(f"paused {words.left(limits.paused_s)}", "yellow")
    yield Text("-- left" if now.eta_s is None else f"{words.left(now.eta_s)} left")


def money(now: Snapshot) -> str:
    """What was spent, of which budget, and what it will come to: ``$0.12 of $5.00, $0.30 in all``."""
    unpriced = f" ({now.unpriced:,} unpriced)" if now.unpriced else ""
    if now.budget_usd is None:
        spent = words.dollars(now.cost_usd) + unpriced
    else:
        spent = f"{words.dollars(now.spent_usd)}{unpriced} of ${now.budget_usd:,.2f}"
    projected, paid = now.projected_usd, now.cost_usd if now.budget_usd is None else now.spent_usd
    if not projected or not now.rows["pending"] or not paid:
        return spent
    return f"{spent}, about {words.round_dollars(projected)} in all"


def _flow(facts: Sequence[Text], width: int) -> Iterator[Text]:
    """The facts, as many to a line as fit."""
    line = Text()
    for fact in facts:
        if line and line.cell_len + len(_GAP) + fact.cell_len > width:
            yield line
            line = Text()
        if line:
            line.append(_GAP, "dim")
        line.append_text(fact)
    yield line
