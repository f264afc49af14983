"""The batches that are open: how many, how large, how far, and what they can cost."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal

from llmbatch.ledger import OpenBatch
from llmbatch.providers.batches import RemoteBatch
from llmbatch.providers.modes import Wire as Form
from llmbatch.tally import BatchState


@dataclass(slots=True)
class Flight:
    """Open batches by intent. A bounded number, so they may be kept."""

    open: dict[str, OpenBatch] = field(default_factory=dict)
    remote: dict[str, RemoteBatch] = field(default_factory=dict)  #: as last seen
    forms: dict[str, Form] = field(default_factory=dict)  #: in which the bodies of this run's batches were written

    def __len__(self) -> int:
        return len(self.open)

    def __bool__(self) -> bool:
        return bool(self.open)

    @property
    def tokens(self) -> int:
        """Estimated, of all open batches."""
        return sum(batch.tokens for batch in self.open.values())

    @property
    def requests(self) -> int:
        """Of all open batches."""
        return sum(batch.requests for batch in self.open.values())

    @property
    def worst_usd(self) -> Decimal:
        """What all open batches can cost at most."""
        return sum((batch.worst_usd or Decimal(0) for batch in self.open.values()), Decimal(0))

    def put(self, batch: OpenBatch) -> None:
        """Add a batch, or what is now known of it."""
        self.open[batch.intent] = batch

    def drop(self, intent: str) -> None:
        """A batch is done with."""
        for known in (self.open, self.remote, self.forms):
            known.pop(intent, None)

    def states(self) -> tuple[BatchState, ...]:
        """What a person may see of them."""
        return tuple(self._state(batch) for batch in self.open.values())

    def _state(self, batch: OpenBatch) -> BatchState:
        remote = self.remote.get(batch.intent)
        return BatchState(
            id=batch.batch_id or batch.intent,
            status=remote.status if remote else batch.ended or ("created" if batch.batch_id else "meant"),
            made_at=batch.made_at,
            requests=batch.requests,
            completed=remote.completed if remote else 0,
            failed=remote.failed if remote else 0,
            worst_usd=batch.worst_usd,
        )
