"""Which tier answers the rows, and until when: the least that a deadline costs. Pure; every time is the caller's.

    begin(terms, ...) -> State; step(state, event) -> State

A state carries its decisions with times and reasons, and says when it wants to be asked again. The rule: the cheapest
tier that history says will make it, until the last moment that still leaves time to finish live.
"""

from llmbatch.schedule.events import BatchesSeen, Beside, Closed, Event, FlexSeen, Measured, Ready, Tick
from llmbatch.schedule.machine import begin, falls_back, step, wake_at
from llmbatch.schedule.model import BatchSeen, Decided, Offer, State, Terms
from llmbatch.schedule.odds import chance
from llmbatch.schedule.times import last_call

__all__ = [
    "BatchSeen",
    "BatchesSeen",
    "Beside",
    "Closed",
    "Decided",
    "Event",
    "FlexSeen",
    "Measured",
    "Offer",
    "Ready",
    "State",
    "Terms",
    "Tick",
    "begin",
    "chance",
    "falls_back",
    "last_call",
    "step",
    "wake_at",
]
