"""What driver and worker tell each other. A call is named by its request's number and the attempts used before it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from llmbatch.errors import Decision, Stop, StorageError
from llmbatch.noun import noun
from llmbatch.settings import Settings
from llmbatch.types import Reply, Request

Name: TypeAlias = tuple[int, int]  #: of a call: its request's number with that worker, and attempts used before it


@dataclass(frozen=True, slots=True)
class Kit:
    """What a worker begins with. ``environment`` holds the key: it goes over the wire, and nowhere else."""

    settings: Settings
    environment: Mapping[str, str] = field(repr=False)
    window_s: float  #: how long a worker gathers what it has to say


@dataclass(frozen=True, slots=True)
class Greeting:
    """How a worker answers its kit."""

    version: str  #: of llmbatch there
    fault: str | None = None  #: why it cannot work


# --- driver to worker ----------------------------------------------------------------------------------------------


@noun(frozen=True, slots=True)
class Lease:
    """Bring this request to its last word; its first call may go."""

    number: int
    request: Request


@noun(frozen=True, slots=True)
class Permit:
    """A further call may go."""

    call: Name


@noun(frozen=True, slots=True)
class Turned:
    """A call may not go, or what came of it cannot be kept."""

    call: Name
    fault: Decision | Stop


@noun(frozen=True, slots=True)
class Stored:
    """What came of a call is durable; ``seq`` is the reply's, if one came."""

    call: Name
    seq: int | None


@noun(frozen=True, slots=True)
class Halted:
    """The run is told to stop: nothing new is sent, calls in flight may end."""

    words: str


@noun(frozen=True, slots=True)
class Cut:
    """Calls in flight end now."""


@noun(frozen=True, slots=True)
class LastRows:
    """Every row of the run is on its way: late calls may be hedged."""


ToWorker: TypeAlias = Lease | Permit | Turned | Stored | Halted | Cut | LastRows


# --- worker to driver ----------------------------------------------------------------------------------------------


@noun(frozen=True, slots=True)
class Asked:
    """A further call wants to go."""

    call: Name


@noun(frozen=True, slots=True)
class Withdrawn:
    """A call will not go after all; nothing was sent."""

    call: Name


@noun(frozen=True, slots=True)
class Ended:
    """What came of a call."""

    call: Name
    came: Reply | Decision


@noun(frozen=True, slots=True)
class Answered:
    """A request's last word: this stored reply, as the answer to so many attempts."""

    number: int
    seq: int
    attempts: int


@noun(frozen=True, slots=True)
class Failed:
    """A request's last word: a fault. None: the run stopped first, and the driver knows why."""

    number: int
    fault: Decision | Exception | None


ToDriver: TypeAlias = Asked | Withdrawn | Ended | Answered | Failed


@dataclass(frozen=True, slots=True)
class Heard:
    """What a worker has to say at one time."""

    messages: list[ToDriver]
    notes: list[str]
    hedges: int  #: so far
    structured_output: str | None


def sendable(fault: Decision | Stop | StorageError) -> Decision | Stop:
    """A fault as it can go over the wire; the driver keeps the reason why a run stops."""
    return fault if isinstance(fault, Decision) else Stop(fault.message)
