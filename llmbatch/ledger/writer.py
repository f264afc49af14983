"""What is written to the ledger, by columns: a statement a row would be 10 to 60 times slower."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import duckdb

from llmbatch.ledger.statements import statements
from llmbatch.types import Attempt, Outcome, Request


@dataclass(frozen=True, slots=True)
class Recorded:
    """An attempt on its way into the ledger, with what its request adds to the prompt version."""

    run_no: int
    attempt: Attempt
    request: Request | None  #: set with the first attempt of a key, so that its prompt is stored once
    prompt_version: str


def insert_attempts(con: duckdb.DuckDBPyConnection, first_seq: int, records: Sequence[Recorded]) -> None:
    """Append attempts, numbered from ``first_seq``, and the prompts of new requests."""
    rows = [_attempt_row(first_seq + i, r) for i, r in enumerate(records)]
    con.execute(statements()["insert_attempts"], _columns(rows))
    prompts = [
        (bytes.fromhex(r.request.key), r.prompt_version, r.request.messages[-1]["content"])
        for r in records
        if r.request is not None
    ]
    if prompts:
        con.execute(statements()["insert_requests"], _columns(prompts))


def insert_outcomes(con: duckdb.DuckDBPyConnection, outcomes: Sequence[tuple[int, Outcome]]) -> None:
    """Append outcomes of (run_no, outcome)."""
    rows = [
        (
            run_no,
            o.row_no,
            o.row_id,
            o.status.value,
            bytes.fromhex(o.key) if o.key else None,
            o.seq,
            o.failure,
            o.reason,
            o.repaired,
        )
        for run_no, o in outcomes
    ]
    con.execute(statements()["insert_outcomes"], _columns(rows))


def _attempt_row(seq: int, recorded: Recorded) -> tuple[Any, ...]:
    a = recorded.attempt
    reply = a.reply
    usage = reply.usage if reply else None
    return (
        seq,
        recorded.run_no,
        bytes.fromhex(a.key),
        a.row_no,
        a.number,
        int(a.asked_at * 1e6),
        a.latency_s * 1e3,
        a.http_status,
        a.outcome,
        a.reason,
        a.failure,
        a.possibly_paid,
        *((reply.model, reply.tier, reply.fingerprint) if reply else (None, None, None)),
        *(
            (usage.input, usage.cached, usage.cache_write, usage.output, usage.reasoning)
            if usage
            else (None, None, None, None, None)
        ),
        None if a.cost_usd is None else str(a.cost_usd),  # text: Decimals of unequal scale do not share a list type
        reply.raw if reply else None,
    )


def _columns(rows: Sequence[tuple[Any, ...]]) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)]
