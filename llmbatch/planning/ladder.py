"""A plan for a ladder of models: how many rows will come to each, by what earlier runs saw, and what that costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from llmbatch.grade.stats import wilson
from llmbatch.planning.model import Amount, PlannedRung, total
from llmbatch.planning.price import Costs

_ENOUGH = 20  #: rows at a model before its climb rate is believed
_UNKNOWN = Amount(0.0, 1.0, 1.0)  #: of the rows: where nothing is known, all of them are planned for


@dataclass(frozen=True, slots=True)
class Climb:
    """Which part of a model's rows goes on to the next one."""

    rate: Amount
    basis: str | None  #: None: nothing is known


def climb_from(reports: Sequence[dict[str, Any]], models: Sequence[str], rung: int, version: str) -> Climb:
    """By the report that saw most rows there, of this prompt version if there is one; its 95 % interval is the range.

    ``reports`` are report.json of earlier runs with this ladder, newest first.
    """
    seen = []
    for report in reports:
        rungs = (report.get("ladder") or {}).get("rungs") or []
        if [one["model"] for one in rungs] == list(models) and rungs[rung]["rows"] >= _ENOUGH:
            seen.append((report["prompt_version"] == version, rungs[rung]["rows"], rungs[rung]["climbed"], report))
    if not seen:
        return Climb(_UNKNOWN, None)
    _, rows, climbed, report = max(seen, key=lambda one: one[:2])
    interval = wilson(climbed, rows)
    what = "a probe" if report["status"] == "probe" else f"run {report['run_id']}"
    return Climb(Amount(interval.low, climbed / rows, interval.high), f"{what}, {rows:,} rows")


def planned(
    models: Sequence[str], asked: Sequence[int], climbs: Sequence[Climb], a_row: Sequence[Costs]
) -> tuple[Costs, tuple[PlannedRung, ...]]:
    """What all rows use together, and model by model.

    ``asked``: rows to be asked of each model as things stand; ``a_row``: what one row uses there.
    """
    rows, rungs, parts = Amount(0.0, 0.0, 0.0), [], []
    for rung, (model, number, costs) in enumerate(zip(models, asked, a_row, strict=True)):
        rows = total((rows, Amount(number, number, number)))
        here = _times(costs, rows)
        climb = climbs[rung] if rung < len(climbs) else None
        rate = climb.rate if climb is not None and climb.basis is not None else None
        rungs.append(PlannedRung(model, rows, rate, climb.basis if climb else None, here.cost_usd))
        parts.append(here)
        rows = _by(rows, climb.rate) if climb is not None else rows
    dollars = [part.cost_usd for part in parts if part.cost_usd is not None]
    whole = Costs(
        calls=total(part.calls for part in parts),
        input_tokens=total(part.input_tokens for part in parts),
        output_tokens=total(part.output_tokens for part in parts),
        cached_tokens=sum(part.cached_tokens for part in parts),
        cost_usd=total(dollars) if len(dollars) == len(parts) else None,
    )
    return whole, tuple(rungs)


def _times(a_row: Costs, rows: Amount) -> Costs:
    return Costs(
        calls=_by(a_row.calls, rows),
        input_tokens=_by(a_row.input_tokens, rows),
        output_tokens=_by(a_row.output_tokens, rows),
        cached_tokens=a_row.cached_tokens * rows.likely,
        cost_usd=None if a_row.cost_usd is None else _by(a_row.cost_usd, rows),
    )


def _by(one: Amount, other: Amount) -> Amount:
    return Amount(one.low * other.low, one.likely * other.likely, one.high * other.high)
