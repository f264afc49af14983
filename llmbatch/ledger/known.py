"""What the ledger knows of a request: its stored replies, and whether a provider rejected it for good."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

import duckdb

from llmbatch.ledger.parts import raw_in_parts
from llmbatch.ledger.statements import statements
from llmbatch.reply import parse_reply
from llmbatch.types import Reply


@dataclass(frozen=True, slots=True)
class Rejection:
    """The provider said that this request will never work."""

    seq: int
    failure: str
    reason: str


@dataclass(slots=True)
class Known:
    """All that earlier attempts brought for one key."""

    replies: list[Reply] = field(default_factory=list)  #: oldest first; the first that judges valid serves the row
    rejection: Rejection | None = None


def known(
    con: duckdb.DuckDBPyConnection, keys: Iterable[str], *, simulated: bool = True, since: int = 0
) -> dict[str, Known]:
    """What is stored for ``keys``; keys without a reply or rejection are absent.

    Without ``simulated``, what the simulator replied is left out: a rehearsal must not serve a real night. So are
    attempts up to ``since``.

    Two steps, because a join that also carries the raw replies reads all of them (260 ms instead of 30 ms for a
    thousand keys among a million attempts).
    """
    seqs = con.execute(statements()["known_seqs"], [[bytes.fromhex(key) for key in keys], simulated, since]).fetchall()
    found: dict[str, Known] = {}
    for key, attempt in attempts_by_seq(con, [seq for (seq,) in seqs]):
        entry = found.setdefault(key, Known())
        if isinstance(attempt, Reply):
            entry.replies.append(attempt)
        else:
            entry.rejection = attempt
    return found


def attempts_by_seq(con: duckdb.DuckDBPyConnection, seqs: Sequence[int]) -> Iterable[tuple[str, Reply | Rejection]]:
    """(key, reply or rejection) of stored attempts, in the order they were made."""
    if not seqs:
        return
    rows = con.execute(statements()["attempts_by_seq"], [seqs]).fetchall()
    long = raw_in_parts(con, [seq for seq, *_, outcome, raw, _, _ in rows if raw is None and outcome == "answered"])
    for seq, key, number, status, latency_ms, cost, outcome, raw, failure, reason in rows:
        if outcome == "rejected":
            yield key, Rejection(seq, failure, reason)
        else:
            yield key, stored_reply(long[seq] if raw is None else raw, seq, number, status, latency_ms, cost)


def stored_reply(raw: str, seq: int, number: int, status: int, latency_ms: float, cost_usd: Decimal | None) -> Reply:
    """The reply of a stored attempt."""
    return parse_reply(raw, http_status=status, latency_s=latency_ms / 1e3, number=number, seq=seq, cost_usd=cost_usd)
