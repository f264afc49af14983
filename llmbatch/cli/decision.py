"""From measured candidates to the one that is named, and why."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from math import inf
from typing import TYPE_CHECKING

from llmbatch.candidates import (
    Bid,
    Candidate,
    Certificate,
    Comparison,
    Goal,
    Tried,
    best,
    cheapest,
    on_the_front,
    price,
)
from llmbatch.report.words import number_of

if TYPE_CHECKING:
    from llmbatch.cli.contest import Asked, Contest

_TWO_VALUED = {"exact", "pattern"}  #: kinds of graders whose scores are 0 or 1

Result = tuple[Candidate, tuple[Tried, ...]]


def decide(contest: Contest, asked: Asked, results: Sequence[Result]) -> Comparison:
    """Decide, and put the whole comparison together."""
    night, goal = contest.night, asked.goal
    bids = [bid for result in results if (bid := _bid(contest, goal, *result)) is not None]
    certificates = _certificates(contest, goal, bids)
    by_name = {candidate.name: candidate for candidate, _ in results}
    holding = [by_name[found.name] for found in certificates if found.holds]
    fit = [one for one in holding if _affordable(goal, one.price, one.rows_per_hour, night.total)]
    named = min(fit, key=lambda one: one.price or 0.0).name if fit and goal.any else None
    return Comparison(
        pipeline=night.pipeline.name,
        input=night.order.shown_inputs,
        fingerprint=night.survey.fingerprint,
        total=night.total,
        rows=len(contest.rows),
        seed=asked.seed,
        grader=contest.deciding,
        tier=contest.tier,
        at=datetime.now(UTC).isoformat(timespec="seconds"),
        goal=goal,
        candidates=on_the_front([candidate for candidate, _ in results]),
        certificates=certificates,
        named=named,
        reason=_reason(goal, bids, certificates, named),
    )


def _bid(contest: Contest, goal: Goal, candidate: Candidate, rows: Sequence[Tried]) -> Bid | None:
    """None for a candidate that is too dear or too slow."""
    by_no = {row.row_no: row for row in rows}
    selecting, certifying = ([by_no[no] for no in half] for half in (contest.selecting, contest.certifying))
    paid = price(selecting, contest.tier)
    if not _affordable(goal, paid, candidate.rows_per_hour, contest.night.total):
        return None
    first, second = ([row.scores[contest.deciding] for row in half] for half in (selecting, certifying))
    return Bid(candidate.name, first, second, inf if paid is None else paid)


def _affordable(goal: Goal, usd_per_1000: float | None, rows_per_hour: float | None, total: int) -> bool:
    if goal.max_cost is not None and (usd_per_1000 is None or usd_per_1000 > goal.max_cost):
        return False
    return goal.within_s is None or (rows_per_hour is not None and total / rows_per_hour * 3600 <= goal.within_s)


def _certificates(contest: Contest, goal: Goal, bids: Sequence[Bid]) -> tuple[Certificate, ...]:
    if not goal.any:
        return ()
    kind = contest.night.pipeline.settings.quality.graders[contest.deciding].kind
    if goal.min_quality is None:
        return best(bids, two_valued=kind in _TWO_VALUED)
    return cheapest(bids, goal.min_quality, two_valued=kind in _TWO_VALUED)


def _reason(goal: Goal, bids: Sequence[Bid], certificates: Sequence[Certificate], named: str | None) -> str:
    """In a sentence."""
    if not goal.any:
        return "no target was set: with --min-quality, --max-cost or --deadline one candidate is named"
    if not bids:
        return "no candidate is named: none is cheap and fast enough"
    if goal.min_quality is None:
        if named is None:
            return "no candidate is named: the best one is over the limits when all rows are counted"
        return f"{named} did best on the selecting half of those that are cheap and fast enough"
    if named is not None:
        return f"{named} is the cheapest candidate that is certified"
    if not certificates:
        return f"no candidate is named: on the selecting half none reached {goal.min_quality:.1%}"
    if any(found.holds for found in certificates):
        return "no candidate is named: those that are certified are over the limits when all rows are counted"
    first = certificates[0]
    seen = f"{first.name} had {first.mean:.1%} of {number_of(first.rows, 'row')}, and that shows {first.lower:.1%} only"
    more = f"; about --sample {first.wanted_rows:,} would tell" if first.wanted_rows is not None else ""
    return f"no candidate is named: {seen}{more}"
