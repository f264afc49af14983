"""How a report speaks of quality: what the graders say, and what moved since the nights before."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any

from llmbatch.grade import LEAST_LABELS, Canary, Drift, Graded, Interval, Judged, LabelScore, Move, Quality
from llmbatch.grade.profile import Rate
from llmbatch.grade.stats import wilson
from llmbatch.report.words import count, number_of, plain, usd

_UNITS = {
    "input_chars": "characters of input",
    "output_chars": "characters of output",
    "input_tokens": "input tokens",
    "output_tokens": "output tokens",
    "latency_ms": "ms of latency",
    "micro_usd": "millionths of a dollar a row",
}
_QUESTIONS = {"verdict": "right or wrong", "score": "1 to 5", "pair": "pairs", "similarity": "nearness to gold"}
UNASKED = "not asked; it asks a model, and a run does not"  #: what is said of such a grader
_MOST_MOVES = 8
_MOST_LABELS = 25


def percent(share: float, places: int = 1) -> str:
    """A share in per cent: 93.4%."""
    return f"{100 * share:.{places}f}%"


def span(interval: Interval) -> str:
    """An interval of shares: 91.8 to 94.7%."""
    return f"{100 * interval.low:.1f} to {percent(interval.high)}"


def grades(quality: Quality) -> Iterator[tuple[str, str]]:
    """Of the gold rows and of each grader the name and a line."""
    if quality.canary is not None:
        yield "gold rows", canary(quality.canary)
    for graded in quality.graders:
        yield plain(graded.name), grade(graded)
        yield from ((f"  {plain(graded.name)}", line) for line in behind(graded))


def canary(found: Canary) -> str:
    """The gold rows in a line."""
    agreed = f"{count(found.agreed)} of {count(found.rows)} agree ({span(found.interval)})"
    floor = ("BELOW THE FLOOR OF " if found.below else "floor ") + percent(found.floor)
    cost = _dollars(found.cost_usd)
    undecided = ", too few to tell" * found.undecided
    return f"{agreed}, {floor}{undecided}, {number_of(found.attempts, 'call')}, {cost}"


def grade(graded: Graded) -> str:
    """A grader in a line: the mean with its interval, rows right, rows left out."""
    if graded.mean is None:
        return "nothing graded" + f": {number_of(graded.ungraded, 'row')} without gold" * (graded.ungraded > 0)
    parts = [f"{percent(graded.mean)} ({span(graded.interval)}) of {number_of(graded.rows, 'row')}"]
    if graded.agreement is not None and set(graded.details) > {"exact"}:
        micro = graded.agreement.micro
        parts.append(f"F1 {percent(micro.f1)} ({span(micro.interval)})")
    if graded.judged is None and graded.passed not in (round(graded.mean * graded.rows), 0):
        parts.append(f"{count(graded.passed)} right")
    if graded.failed:
        parts.append(f"{count(graded.failed)} failed and wrong")
    if graded.ungraded:
        parts.append(f"{count(graded.ungraded)} without gold")
    if graded.details.get("faults"):
        parts.append("THE GRADER RAISED")
    if graded.floor is not None:
        parts.append(("BELOW THE FLOOR OF " if graded.below_floor else "floor ") + percent(graded.floor))
    return ", ".join(parts)


def behind(graded: Graded) -> Iterator[str]:
    """What stands behind a judge's figures, a line each; none of other graders."""
    found = graded.judged
    if found is None:
        return
    labels = number_of(found.labelled, "label")
    by = {"judge": "", "labels": f", by {labels}", "prediction-powered": f", put right by {labels}"}[found.method]
    answers = f"{count(found.asked)} of {number_of(found.answered, 'answer')}"
    yield f"{_QUESTIONS[found.ask]} by {plain(found.model)}, {answers}{by}"
    if found.method != "judge" and found.alone is not None:
        yield f"the judge alone: {percent(found.alone)} ({span(found.alone_interval)})"
    if 0 < found.labelled < LEAST_LABELS:
        yield f"{labels} are too few to put it right by; {LEAST_LABELS} are wanted"
    yield from _beside_people(found)
    if found.consistent is not None and found.first is not None and found.consistent.of:
        yield f"the same in both orders in {_rate(found.consistent)}, the others are ties"
        yield f"when it named one, it was the first in {_rate(found.first)}"
    if found.unjudged:
        without = ", ".join(f"{count(rows)} {name}" for name, rows in found.unjudged.items())
        yield f"without a valid opinion, and counted as wrong: {without}"
    if found.calls:
        yield f"{number_of(found.calls, 'call')} this time, {_dollars(found.cost_usd)}"


def _beside_people(found: Judged) -> Iterator[str]:
    if found.agreed is None or found.right_of_right is None or found.wrong_of_wrong is None:
        return
    yield f"says what people say in {_rate(found.agreed)} rows"
    yield f"calls right {_rate(found.right_of_right)} that are, and wrong {_rate(found.wrong_of_wrong)} that are"
    if found.plug_in is not None and found.plug_in_interval is not None:
        yield f"by these two shares: {percent(found.plug_in)} ({span(found.plug_in_interval)})"


def _rate(rate: Rate) -> str:
    return f"{count(rate.count)} of {count(rate.of)}" + (f" ({span(wilson(rate.count, rate.of))})" if rate.of else "")


def _dollars(dollars: float | None) -> str:
    return "price unknown" if dollars is None else usd(Decimal(str(dollars)))


def drift(found: Drift) -> Iterator[str]:
    """The comparison: a sentence, then what moved, then what was changed."""
    yield comparison(found)
    yield from (move(one) for one in found.moves[:_MOST_MOVES])
    if len(found.moves) > _MOST_MOVES:
        yield f"and {len(found.moves) - _MOST_MOVES} more, in report.json"
    yield from changed(found)


def comparison(found: Drift) -> str:
    """With what it was compared, and whether anything moved."""
    if found.reason is not None:
        return f"not compared: {found.reason}"
    nights = f"{number_of(len(found.against), 'run')} since {found.against[-1]}"
    head = f"{number_of(len(found.moves), 'thing')} moved" if found.moves else "nothing moved"
    return f"{head}: {number_of(found.rows, 'new row')} against {count(found.rows_before)} of {nights}"


def changed(found: Drift) -> Iterator[str]:
    """What was changed since then, a line each."""
    yield from (f"changed: {plain(change)}" for change in found.changed)


def move(moved: Move) -> str:
    """One thing that moved, and by how much."""
    name = plain(moved.what)
    if moved.interval is None:
        before, now = map(_middle, (moved.before, moved.now))
        return f"{_UNITS.get(moved.what, name)}: median {before} -> {now}{_kind(moved)}"
    before, now = percent(moved.before or 0), percent(moved.now or 0)
    change = f"{100 * moved.interval.low:+.1f} to {100 * moved.interval.high:+.1f} points"
    return f"{name}: {before} -> {now} ({change}){_kind(moved)}"


def _middle(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _kind(moved: Move) -> str:
    return ", worse" if moved.worse else ", better" if moved.worse is False else ", around the answers" * moved.context


def mistakes(graded: Graded, most: int = 8) -> str:
    """The most frequent mistakes in a line; empty when there are none."""
    confused = graded.agreement.confused if graded.agreement is not None else ()
    mixes = (f"{mix.given or 'nothing'} for {mix.gold or 'nothing'} {count(mix.rows)}" for mix in confused[:most])
    return plain(", ".join(mixes))


def table(graded: Graded) -> list[list[str]]:
    """The F1 table of a grader that compares labels: head, a line a label, micro and macro; empty without labels."""
    found = graded.agreement
    if found is None:
        return []
    lines = [["label", "gold", "right", "wrong", "missed", "precision", "recall", "F1", "95 %"]]
    lines += [_line(score) for score in (*found.labels, found.micro)]
    macro = ["macro", "", "", "", "", "", "", percent(found.macro_f1), span(found.macro_interval)]
    return [*lines, macro]


def _line(score: LabelScore) -> list[str]:
    counts = (score.gold, score.right, score.wrong, score.missed)
    shares = ("-" if share is None else percent(share) for share in (score.precision, score.recall, score.f1))
    return [plain(score.label), *map(count, counts), *shares, span(score.interval)]


def aligned(lines: list[list[str]]) -> Iterator[str]:
    """A table as text: the first column to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for first, *rest in lines:
        cells = (cell.rjust(width) for cell, width in zip(rest, widths[1:], strict=True))
        yield f"  {first:<{widths[0]}}  {'  '.join(cells)}"


def view(quality: Quality | None, unasked: Sequence[str] = ()) -> dict[str, Any] | None:
    """What the page shows; None when there is nothing to show. ``unasked``: graders that were not."""
    if quality is None or not (quality.graders or quality.drift or quality.canary or unasked):
        return None
    found = quality.drift
    return {
        "canary": canary(quality.canary) if quality.canary is not None else None,
        "graders": [_cells(graded) for graded in quality.graders],
        "tables": [_labels(graded) for graded in quality.graders if graded.agreement is not None],
        "behind": [
            *(f"{graded.name}: {line}" for graded in quality.graders for line in behind(graded)),
            *(f"{name}: {UNASKED}" for name in unasked),
        ],
        "drift": [f"Against the nights before: {comparison(found)}", *changed(found)] if found else [],
        "moves": [_moved(moved) for moved in found.moves] if found else [],
    }


def _cells(graded: Graded) -> list[str]:
    if graded.mean is None:
        return [graded.name, "-", "-", "0", "-", "-", count(graded.ungraded)]
    low = f", floor {percent(graded.floor)}" if graded.floor is not None else ""
    return [
        graded.name,
        percent(graded.mean) + low,
        span(graded.interval),
        count(graded.rows),
        f"{count(graded.passed)} ({span(graded.pass_interval)})",
        count(graded.failed),
        count(graded.ungraded),
    ]


def _labels(graded: Graded) -> dict[str, Any]:
    head, *rows = table(graded)
    labels, sums = rows[:-2], rows[-2:]
    keep = (0, 1, 5, 6, 7, 8)
    return {
        "name": graded.name,
        "head": [head[i] for i in keep],
        "rows": [[row[i] for i in keep] for row in (*labels[:_MOST_LABELS], *sums)],
        "left_off": max(0, len(labels) - _MOST_LABELS),
        "mistakes": mistakes(graded),
    }


def _moved(moved: Move) -> list[str]:
    kind = _kind(moved).removeprefix(", ")
    if moved.interval is None:
        before, now = map(_middle, (moved.before, moved.now))
        return [_UNITS.get(moved.what, moved.what), before, now, "median", kind]
    change = f"{100 * moved.interval.low:+.1f} to {100 * moved.interval.high:+.1f} points"
    return [moved.what, percent(moved.before or 0), percent(moved.now or 0), change, kind]
