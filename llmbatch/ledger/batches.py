"""What the ledger knows of provider batches: what is to be created once and never twice, and how far each one is."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal

import duckdb

from llmbatch.ledger.statements import statements

REHEARSAL = "rehearsal"  #: the ref of the event took, where the simulator may have been what answered


@dataclass(frozen=True, slots=True)
class BatchRequest:
    """A request on its way into a batch."""

    key: str
    row_no: int
    number: int  #: which attempt of its key it is
    worst_usd: Decimal | None  #: what it can cost at most; None when unknown
    body: str  #: as the provider takes it, JSON text


@dataclass(frozen=True, slots=True)
class OpenBatch:
    """A batch that is not collected yet, and perhaps not created."""

    intent: str  #: its id in the batch's metadata, and in its upload's name
    run_no: int  #: the run that made it
    made_at: float  #: seconds since the epoch
    requests: int
    bytes: int  #: of its upload
    tokens: int  #: estimated
    worst_usd: Decimal | None
    file_id: str | None = None  #: set once its upload is known to be done
    batch_id: str | None = None  #: set once it is known to be created
    ended: str | None = None  #: the provider's last state, once it was seen


def add_requests(con: duckdb.DuckDBPyConnection, intent: str, first: int, requests: Sequence[BatchRequest]) -> None:
    """Append requests of a batch that is being filled, the first one at place ``first``."""
    rows = [
        (intent, first + i, bytes.fromhex(r.key), r.row_no, r.number, _dollars(r.worst_usd), r.body)
        for i, r in enumerate(requests)
    ]
    con.execute(statements()["insert_batch_requests"], [list(column) for column in zip(*rows, strict=True)])


def add_batch(con: duckdb.DuckDBPyConnection, batch: OpenBatch) -> None:
    """Append the intent: from here on the batch is to be created, once."""
    con.execute(
        statements()["insert_batch"],
        [batch.intent, batch.run_no, int(batch.made_at * 1e6), batch.requests, batch.bytes, batch.tokens,
         _dollars(batch.worst_usd)],
    )  # fmt: skip


def add_event(
    con: duckdb.DuckDBPyConnection, intent: str, event: str, ref: str | None = None, detail: str | None = None
) -> None:
    """Append a step of a batch: uploaded, created, ended, took, collected, abandoned or removed."""
    con.execute(statements()["insert_batch_event"], [intent, int(time.time() * 1e6), event, ref, detail])


def add_lines(con: duckdb.DuckDBPyConnection, intent: str, run_no: int, keys: Iterable[str], what: str) -> None:
    """Append requests whose lines brought no attempt, dealt with by a run: expired, cancelled or other_form."""
    columns = [(intent, run_no, bytes.fromhex(key), None, what) for key in keys]
    if columns:
        con.execute(statements()["insert_batch_lines"], [list(column) for column in zip(*columns, strict=True)])


def open_batches(con: duckdb.DuckDBPyConnection) -> list[OpenBatch]:
    """Every batch that is neither collected nor abandoned, oldest first. Forgets those that were never meant."""
    con.execute(statements()["drop_batches_never_meant"])
    return [OpenBatch(*row) for row in con.execute(statements()["open_batches"]).fetchall()]


def uploads_left(con: duckdb.DuckDBPyConnection) -> list[tuple[str, str]]:
    """(intent, file) of uploads whose batch is done with, and which nobody is known to have removed."""
    return con.execute(statements()["uploads_left"]).fetchall()


def bodies(con: duckdb.DuckDBPyConnection, intent: str, low: int, high: int) -> list[str]:
    """Lines of a batch's upload, by place."""
    return [body for (body,) in con.execute(statements()["batch_bodies"], [intent, low, high]).fetchall()]


def keys_in(con: duckdb.DuckDBPyConnection, intents: Sequence[str], keys: Iterable[str]) -> set[str]:
    """Those of ``keys`` that are in one of these batches."""
    if not intents:
        return set()
    found = con.execute(statements()["keys_in_batches"], [list(intents), [bytes.fromhex(key) for key in keys]])
    return {key for (key,) in found.fetchall()}


@dataclass(frozen=True, slots=True)
class Tried:
    """What a run's batches made of a key."""

    batches: int  #: that had it and are collected
    failure: str | None  #: of its last attempt, if that failed
    reason: str | None


def tried(
    con: duckdb.DuckDBPyConnection, run_no: int, keys: Iterable[str], *, unasked: bool = True
) -> dict[str, Tried]:
    """What a run's collected batches made of keys; those that were in none are absent.

    Without ``unasked``, batches that ended before a key's turn came are not counted.
    """
    which = {"run_no": run_no, "keys": [bytes.fromhex(key) for key in keys], "unasked": unasked}
    found = con.execute(statements()["batches_tried"], which)
    return {key: Tried(*rest) for key, *rest in found.fetchall()}


def asked(con: duckdb.DuckDBPyConnection, intent: str, keys: Iterable[str]) -> dict[str, BatchRequest]:
    """Those of ``keys`` that were asked in a batch and whose line was not dealt with yet."""
    found = con.execute(
        statements()["batch_asked"], {"intent": intent, "keys": [bytes.fromhex(key) for key in keys]}
    ).fetchall()
    return {row[0]: BatchRequest(*row) for row in found}


def answered_since(con: duckdb.DuckDBPyConnection, made_at: float, keys: Sequence[str]) -> set[str]:
    """Those of ``keys`` that were answered by calls made since a batch was."""
    if not keys:
        return set()
    which = [int(made_at * 1e6), [bytes.fromhex(key) for key in keys]]
    return {key for (key,) in con.execute(statements()["answered_since"], which).fetchall()}


def unanswered(con: duckdb.DuckDBPyConnection, intent: str, most: int) -> list[BatchRequest]:
    """Requests of a batch whose line was not dealt with, at most so many."""
    rows = con.execute(statements()["batch_unanswered"], {"intent": intent, "most": most}).fetchall()
    return [BatchRequest(*row) for row in rows]


def asked_for(con: duckdb.DuckDBPyConnection, run_no: int, seqs: Sequence[int]) -> dict[int, int]:
    """Which row each of these attempts was made for; those of other runs are absent."""
    return dict(con.execute(statements()["rows_asked_for"], [run_no, list(seqs)]).fetchall()) if seqs else {}


def _dollars(usd: Decimal | None) -> str | None:
    return None if usd is None else str(usd)
