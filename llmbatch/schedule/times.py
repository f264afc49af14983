"""Times of a state: what live calls take, what is free, and the last moments to leave a tier. Margins are parts of the
time that live calls are thought to take."""

from __future__ import annotations

from dataclasses import replace
from math import inf

from llmbatch.schedule.model import State
from llmbatch.schedule.words import rows_of, span

LEAVE_BATCH = 0.4  #: more than the time that live calls take is kept free while batches are waited for
LEAVE_FLEX = 0.2  #: and while flex calls are
KEEPS_UP = 0.08  #: flex calls may use all but this, while they are as fast as needed


def last_call(state: State) -> float:
    """The last moment at which batches can be left.

    By then all rows can still be asked live, those too that the batches say are done: a batch whose cancelling takes
    too long keeps them.
    """
    return min(latest(state, LEAVE_BATCH), latest_for_all(state)) - state.terms.cancel_s


def room_s(state: State) -> float:
    """Seconds that a batch handed in now would have."""
    return max(0.0, last_call(state) - state.at)


def free_s(state: State) -> float:
    """Seconds until the last calls and the results."""
    return max(0.0, state.terms.deadline_at - state.terms.reserve_s - state.at)


def latest(state: State, margin: float) -> float:
    """The last moment to begin asking live what is left, with a margin."""
    return state.terms.deadline_at - state.terms.reserve_s - live_s(state, margin)


def live_s(state: State, margin: float) -> float:
    """Seconds that standard calls take for what is left, with a margin; infinite while their speed is unknown."""
    if state.speed is None:
        return inf
    return state.to_ask / state.speed * (1 + margin)


def latest_for_all(state: State) -> float:
    """The last moment to begin asking live what has no outcome, whatever batches have done of it."""
    return latest(replace(state, batches=()), LEAVE_FLEX)


def flex_keeps_up(state: State) -> bool:
    """Whether flex calls, as fast as they are now, bring what is left to its end in time."""
    if not state.flex_speed:
        return False
    return state.to_ask / state.flex_speed * (1 + KEEPS_UP) <= free_s(state)


def live_in_words(state: State) -> str:
    """``1,200 rows take 4 min at 5 a second``."""
    if state.speed is None:
        return f"{rows_of(state.to_ask)} are left, at an unknown speed"
    return f"{rows_of(state.to_ask)} take {span(live_s(state, 0.0))} at {state.speed:,.3g} a second"
