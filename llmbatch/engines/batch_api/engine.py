"""What answering rows by batches takes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Protocol

from llmbatch.engines.batch_api.collect import Cost
from llmbatch.engines.batch_api.flight import Flight
from llmbatch.errors import Stop
from llmbatch.halt import Halt
from llmbatch.ledger import Ledger, Run
from llmbatch.providers.batches import BatchDesk
from llmbatch.render import Renderer
from llmbatch.tally import BatchState
from llmbatch.types import Attempt, Observer, Request, Row
from llmbatch.validate import Judge


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """How large batches may be, and how patient the engine is."""

    requests: int  #: of a file
    bytes: int  #: of a file
    enqueued_tokens: int | None  #: estimated, of all open batches
    in_flight: int  #: open batches
    window: str = "24h"
    poll_s: float = 120.0  #: longest pause between two looks
    listing_lag_s: float = 60.0  #: a batch that was created is listed by then
    patience_s: float = 900.0  #: for files and batches to answer at all


class Purse(Protocol):
    """The money of a run."""

    def bound(self, request: Request) -> Decimal | None:
        """What a request can cost at most in a batch; None when there is no cap, or no price is known."""
        ...

    def left(self) -> Decimal | None:
        """What may still be spent; None without a cap."""
        ...

    def spend(self, dollars: Decimal) -> None:
        """Count what was spent."""
        ...

    def reached(self, amount: Decimal) -> Stop:
        """Why no further request goes."""
        ...


@dataclass(frozen=True, slots=True)
class Engine:
    """What answering rows by batches takes. ``rows`` gives all rows anew, in the same order, each time."""

    ledger: Ledger
    run: Run
    renderer: Renderer
    judge: Judge
    desk: BatchDesk
    observer: Observer
    halt: Halt
    max_attempts: int
    rows: Callable[[], Iterator[Row]]
    total: int
    limits: BatchLimits
    purse: Purse
    cost: Cost
    versions: Mapping[str, str]  #: the prompt version of the requests to each model
    live_below: int = 0  #: so few rows that are left after the first batches are not asked in another one
    detach: bool = False  #: hand in, fetch what is ready, and wait for nothing
    id_column: str | None = None
    retry_failed: frozenset[str] | None = None
    rehearsal: bool = True
    watch: Callable[[tuple[BatchState, ...]], None] = lambda _: None  #: told how the batches stand
    asked: Callable[[Request], None] = lambda _: None  #: told each request that is asked for the first time
    flight: Flight = field(default_factory=Flight)
    ended: Callable[[float], None] = lambda _: None  #: told the seconds that a batch took; infinite: it was not done
    twice: Callable[[Attempt], None] | None = None  #: told an answer to a request that a call was made for meanwhile
    another: Callable[[int], None] | None = None  #: told, before a further batch, how many rows are left; may halt
