"""Tonight against the trailing nights: which of them, what moved, and what else changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

from llmbatch.grade.canary import Canary
from llmbatch.grade.drift import moves
from llmbatch.grade.move import LEAST_ROWS, Move
from llmbatch.grade.profile import Profile, Signature, pooled
from llmbatch.grade.scores import mean_of
from llmbatch.grade.stats import detectable

_POWER_ALPHA = 0.004  #: as strict as the test of the only grader is on average, which does not know how nights differ


@dataclass(frozen=True, slots=True)
class Past:
    """A run that can be compared with."""

    run_id: str
    profile: Profile
    signature: Signature
    canary: Canary | None = None


@dataclass(frozen=True, slots=True)
class Drift:
    """The comparison."""

    against: tuple[str, ...]  #: run_ids, newest first; empty when there is nothing to compare with
    rows: int  #: newly answered tonight
    rows_before: int  #: and by those runs together
    moves: tuple[Move, ...]  #: what moved, worst first
    changed: tuple[
        str, ...
    ]  #: what was changed between them: ``model a -> b``, ``prompt_version ...``, ``provider ...``
    detectable: float | None  #: the fall of the first grader's mean that would have been seen 9 times in 10
    reason: str | None  #: why nothing was compared

    @property
    def alarming(self) -> tuple[Move, ...]:
        """What moved for the worse, or changed its nature, in the answers themselves."""
        return tuple(move for move in self.moves if not move.context and move.worse is not False)


def compare(now: Past, history: Sequence[Past], *, trailing: int, min_change: float) -> Drift:
    """Compare a run with up to ``trailing`` runs before it, of ``history`` (newest first).

    They are the newest runs with at least 50 newly answered rows, back to where prompt version, model or provider were
    others: so the first night after a change is held against the nights before it, and the second against the first.
    """
    usable = [past for past in history if past.profile.rows >= LEAST_ROWS]
    nights: list[Past] = []
    for past in usable[:trailing]:
        if past.signature != usable[0].signature:
            break
        nights.append(past)
    before = pooled(past.profile for past in nights)
    reason = _why_not(now, history, nights)
    if reason is not None:
        return Drift((), now.profile.rows, before.rows, (), _changed(now, nights), None, reason)
    return Drift(
        against=tuple(past.run_id for past in nights),
        rows=now.profile.rows,
        rows_before=before.rows,
        moves=moves(
            now.profile,
            [past.profile for past in nights],
            min_change=min_change,
            steady=now.signature == nights[0].signature,
            gold=_gold(now, nights),
        ),
        changed=_changed(now, nights),
        detectable=_detectable(now.profile, before),
        reason=None,
    )


def _gold(now: Past, nights: Sequence[Past]) -> list[str]:
    """The verdicts on the gold rows, tonight's first, of nights that asked the same ones; empty when there are none."""
    if now.canary is None or not now.canary.verdicts:
        return []
    known = (past.canary for past in nights)
    same = [one.verdicts for one in known if one is not None and one.verdicts and one.gold == now.canary.gold]
    return [now.canary.verdicts, *same] if same else []


def _why_not(now: Past, history: Sequence[Past], nights: Sequence[Past]) -> str | None:
    if not history:
        return "there is no earlier run to compare with"
    if now.profile.rows < LEAST_ROWS:
        return f"{now.profile.rows} newly answered rows are too few; {LEAST_ROWS} are wanted"
    return None if nights else f"no earlier run has {LEAST_ROWS} newly answered rows"


def _changed(now: Past, nights: Sequence[Past]) -> tuple[str, ...]:
    if not nights:
        return ()
    pairs = ((f.name, getattr(nights[0].signature, f.name), getattr(now.signature, f.name)) for f in fields(Signature))
    return tuple(f"{name} {before} -> {after}" for name, before, after in pairs if before != after)


def _detectable(now: Profile, before: Profile) -> float | None:
    for name, scores in now.scores.items():
        known = before.scores.get(name)
        if known and scores:
            return detectable(mean_of(known), sum(scores.values()), sum(known.values()), alpha=_POWER_ALPHA)
    return None
