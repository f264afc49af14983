"""What is known of a run when it begins, for those who watch it from outside."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """A run whose checks have passed and whose ledger is open. No row text, and no secret."""

    run_id: str
    pipeline: str
    prompt_version: str
    prompt_label: str | None
    provider: str  #: openai or offline, as pipeline.toml names it
    address: str | None  #: where requests go; None for OpenAI's own, and for offline
    model: str  #: as asked
    params: dict[str, object]  #: sampling parameters, as asked
    input: tuple[str, ...]  #: as typed
    total: int  #: rows
    budget_usd: Decimal | None
    deadline: str | None  #: as typed
    resumes: int  #: unfinished runs over the same input that this one goes on from
    started_at: float  #: seconds since the epoch
