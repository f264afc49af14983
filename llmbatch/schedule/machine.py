"""The state machine: which tier next, and why.

    measuring -> flex <-> batch -> closing -> flex -> standard

Where flex costs no more than batches it comes first, as long as it answers.

Batches are left at the last moment that still leaves time to cancel them and to ask what they did not do live, with a
margin; before it where they will hardly be done by then and flex costs no more. Flex is left when even standard calls
need the time that is left. The margins are parts of the time that live calls are thought to take.
"""

from __future__ import annotations

import math
from dataclasses import replace
from math import inf
from typing import assert_never

from llmbatch.schedule.events import BatchesSeen, Beside, Closed, Event, FlexSeen, Measured, Ready, Tick
from llmbatch.schedule.model import BatchSeen, Decided, State, Terms, Tier
from llmbatch.schedule.odds import chance
from llmbatch.schedule.times import (
    LEAVE_BATCH,
    LEAVE_FLEX,
    flex_keeps_up,
    free_s,
    last_call,
    latest,
    latest_for_all,
    live_in_words,
    live_s,
    room_s,
)
from llmbatch.schedule.words import rows_of, span

WORTH_A_TRY = 0.15  #: chance of being done in time that makes batches the first choice
HOPELESS = 0.05  #: and the one at which they are given up for flex, where that costs no more
WORTH_A_CHANGE = 0.3  #: of the rows that standard calls began with must be left to go back to flex
FLEX_PATIENCE_S, FLEX_PATIENCE = 120.0, 0.02  #: refused for so long, or for that part of the time left, flex is left
TOO_SLOW, SEEN_S = 0.5, 300.0  #: part of the oldest batch that is done in time at least, once it is so old
SURE_OF = 2  #: batches seen, before rows are split between calls and batches by how long they took
BESIDE, WORTH_A_SPLIT = 1.5, 0.7  #: times the longest of them that calls go beside; for that part of the rows at most
AMPLE = 2.0  #: so many times the time needed brings standard calls back to flex


def begin(
    terms: Terms,
    at: float,
    left: int,
    *,
    speed: float | None,
    batches: tuple[BatchSeen, ...] = (),
    before: tuple[Decided, ...] = (),
) -> State:
    """The state of a night that begins or goes on.

    Without a known ``speed`` a few rows are asked live first. ``batches`` are open ones of an earlier run, ``before``
    its decisions: what was decided is not noted anew, and batches that were left are not tried again.
    """
    state = State(terms, at, left, "standard", speed=speed, batches=batches, decided=before)
    if batches:
        return _look(replace(state, tier="batch"))
    if speed is None and left and terms.offers:
        tier: Tier = "flex" if terms.offers_tier("flex") else "standard"
        return _decide(replace(state, measuring=True), tier, "how fast live calls are is not known: some rows show it")
    return _choose(state, None, batches=not any(one.closes for one in before))


def step(state: State, event: Event) -> State:
    """The state after an event; its last decision is what holds now."""
    state = replace(state, at=max(state.at, event.at))
    match event:
        case Tick():
            return _look(replace(state, left=event.left))
        case Measured():
            reserve_s = state.terms.reserve_s if event.reserve_s is None else event.reserve_s
            state = replace(state, speed=event.rows_per_s, terms=replace(state.terms, reserve_s=reserve_s))
            return _choose(replace(state, measuring=False), None) if state.measuring else _look(state)
        case FlexSeen():
            return _look(_with_flex(state, event.rows_per_s))
        case BatchesSeen():
            took = (*state.took, *event.took)
            return _look(replace(state, left=event.left, batches=event.batches, took=took))
        case Beside():
            return _look(replace(state, left=event.left, beside=0))
        case Ready():
            return _ready(replace(state, left=event.left, batches=()))
        case Closed():
            state = replace(state, left=event.left, batches=(), closing=False)
            return _choose(state, _unclosed(event.open), batches=False)
        case _:
            assert_never(event)


def wake_at(state: State) -> float:
    """When the state must be told of the time at the latest; infinite when time decides nothing."""
    if state.measuring or state.beside or not state.left:
        return inf
    if state.closing:
        if state.speed is None:  # of batches that an earlier run left: what they still do is not to be paid twice
            return state.decided[-1].at + state.terms.cancel_s
        return latest_for_all(state)
    if state.tier == "batch":
        return last_call(state)
    return latest(state, LEAVE_FLEX) if state.tier == "flex" else inf


def falls_back(state: State) -> bool:
    """Whether a row for which flex has no capacity is asked at the standard tier at once."""
    return state.measuring or state.at >= latest(state, LEAVE_BATCH)


# --- decisions -------------------------------------------------------------------------------------------------------


def _choose(state: State, why: str | None, *, batches: bool = True) -> State:
    """The cheapest tier that will make it."""
    if not state.left:
        return state
    told = f"{why}: " if why else ""
    if batches and _flex_is_no_dearer(state) and not _is_refused(state) and state.at < latest(state, LEAVE_BATCH):
        answers = ", and answers at once" if state.flex_at is not None else ""
        return _decide(state, "flex", f"{told}flex costs no more than batches{answers}")
    if batches and state.terms.offers_tier("batch"):
        room, odds = room_s(state), _odds(state)
        if _is_worth_a_batch(state):
            return _decide(state, "batch", f"{told}{_odds_in_words(state, odds)} are done in {span(room)}")
        if not flex_keeps_up(state) and (beside := _beside(state)):
            reason = (
                f"{told}{live_in_words(state)}, so {rows_of(beside)} are asked live while the others are in batches"
            )
            return _decide(replace(state, beside=beside), "batch", reason)
        told = f"{told}batches are hardly done in {span(room)}: "
    if state.terms.offers_tier("flex") and (state.at < latest(state, LEAVE_FLEX) or flex_keeps_up(state)):
        return _decide(state, "flex", f"{told}{live_in_words(state)}, and there is {span(free_s(state))}")
    return _decide(state, "standard", f"{told}{live_in_words(state)}, and there is {span(free_s(state))} only")


def _look(state: State) -> State:
    """Whether what holds now holds on."""
    if state.measuring or state.beside or not state.left:
        return state
    if state.closing:
        return state if state.at < wake_at(state) else _give_up_closing(state)
    if state.tier == "batch":
        return _look_at_batches(state)
    if state.tier == "flex":
        return _look_at_flex(state)
    return _decide(state, "flex", f"there is time again: {live_in_words(state)}") if _is_ample(state) else state


def _look_at_flex(state: State) -> State:
    if state.at >= latest(state, LEAVE_FLEX) and not flex_keeps_up(state):
        return _decide(state, "standard", f"the last moment: {live_in_words(state)}")
    if _is_refused(state) and state.terms.offers_tier("batch") and _is_worth_a_batch(state):
        assert state.refused_at is not None
        return _choose(state, f"flex has had no capacity for {span(state.at - state.refused_at)}")
    return state


def _with_flex(state: State, rows_per_s: float) -> State:
    """What is known of flex calls, with how fast they are now."""
    if rows_per_s > 0:
        return replace(state, flex_speed=rows_per_s, flex_at=state.at, refused_at=None)
    return replace(state, flex_speed=rows_per_s, refused_at=state.at if state.refused_at is None else state.refused_at)


def _is_refused(state: State) -> bool:
    """Whether flex calls have been refused for so long that others are worth a try."""
    patience = min(FLEX_PATIENCE_S, FLEX_PATIENCE * free_s(state))
    return state.refused_at is not None and state.at - state.refused_at >= patience


def _look_at_batches(state: State) -> State:
    last = last_call(state)
    if state.at >= last:
        return _close(state, f"the last moment: {live_in_words(state)}, cancelling up to {span(state.terms.cancel_s)}")
    if not state.batches or not _flex_is_no_dearer(state):
        return state
    oldest = min(state.batches, key=lambda batch: batch.made_at)
    age = state.at - oldest.made_at
    if oldest.done:
        part = oldest.done / oldest.requests * (last - oldest.made_at) / age
        if part < TOO_SLOW and age > SEEN_S:
            return _close(
                state, f"after {span(age)} the oldest batch is so far that {part:.0%} of it would be done in time"
            )
        return state
    odds = chance(_took(state), last - oldest.made_at, age)
    if odds < HOPELESS:
        return _close(
            state, f"nothing is done after {span(age)}, and {_odds_in_words(state, odds)} are after that in time"
        )
    return state


def _ready(state: State) -> State:
    """Whether what came back undone goes into another batch."""
    if state.tier != "batch" or _is_worth_a_batch(state):
        return _look(state)
    return _choose(state, f"another batch is hardly done in {span(room_s(state))}", batches=False)


def _close(state: State, reason: str) -> State:
    """Leave the batches: they are cancelled, and what they did is taken."""
    tier: Tier = "flex" if state.terms.offers_tier("flex") else "standard"
    return _decide(replace(state, closing=True), tier, reason)


def _give_up_closing(state: State) -> State:
    """Batches that were cancelled long ago have not ended: what they still do is paid twice."""
    open_requests = sum(batch.requests - batch.done for batch in state.batches)
    return _choose(replace(state, closing=False, batches=()), _unclosed(open_requests), batches=False)


def _decide(state: State, tier: Tier, reason: str) -> State:
    """The state with its decision; one that decides nothing new is not noted."""
    new = Decided(state.at, tier, reason, state.left, state.closing, state.beside, state.measuring)
    changed = not state.decided or not _goes_on(state.decided[-1], new)
    return replace(state, tier=tier, decided=(*state.decided, *((new,) if changed else ())))


def _goes_on(last: Decided, new: Decided) -> bool:
    """Whether a decision is only what the last one said: after batches are closed, its tier begins."""
    same = (last.tier, last.beside > 0, last.measures) == (new.tier, new.beside > 0, new.measures)
    return same and (last.closes or not new.closes)


# --- what speaks for a tier -------------------------------------------------------------------------------------------


def _odds(state: State) -> float:
    return chance(_took(state), room_s(state))


def _is_worth_a_batch(state: State) -> bool:
    """Where flex costs no more, batches must be likely enough; else any chance is one more than standard calls have."""
    return room_s(state) > 0 and _odds(state) >= (WORTH_A_TRY if _flex_is_no_dearer(state) else 0.0)


def _beside(state: State) -> int:
    """Rows that take live calls as long as batches nearly always took; 0 where that is unknown, or most of the rows."""
    took = _took(state)
    if state.speed is None or len(took) < SURE_OF or max(took) == inf:
        return 0
    rows = math.ceil(max(took) * BESIDE * state.speed)
    return rows if rows <= state.left * WORTH_A_SPLIT else 0


def _is_ample(state: State) -> bool:
    """Whether standard calls turned out so fast, with so much left, that flex has time again."""
    began = next((one.left for one in reversed(state.decided) if one.tier == "standard"), 0)
    return (
        state.terms.offers_tier("flex")
        and state.left > WORTH_A_CHANGE * began
        and free_s(state) > AMPLE * live_s(state, LEAVE_BATCH)
    )


def _took(state: State) -> tuple[float, ...]:
    """Seconds that batches took, of earlier nights and of this one."""
    return (*state.terms.history, *state.took)


def _flex_is_no_dearer(state: State) -> bool:
    if not state.terms.offers_tier("flex"):
        return False
    flex, batch = state.terms.usd("flex"), state.terms.usd("batch")
    return flex is None or batch is None or flex <= batch * 1.01


def _odds_in_words(state: State, odds: float) -> str:
    seen = len(state.terms.history) + len(state.took)
    basis = f"by {seen:,} earlier ones" if seen else "none has been seen yet, it is assumed that"
    return f"{basis}, {odds:.0%} of batches" if seen else f"{basis} {odds:.0%} of batches"


def _unclosed(requests: int) -> str | None:
    return f"{requests:,} cancelled requests have not ended, and may be paid twice" if requests else None
