"""What is written to the ledger, by columns: a statement a row would be 10 to 60 times slower."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from secrets import token_hex
from typing import Any

import duckdb

from llmbatch.ledger.parts import PART, parts
from llmbatch.ledger.statements import statements
from llmbatch.types import Attempt, Outcome, Request


@dataclass(frozen=True, slots=True)
class Recorded:
    """An attempt on its way into the ledger, with what its request adds to the prompt version."""

    run_no: int
    attempt: Attempt
    request: Request | None  #: set with the first attempt of a key, so that its prompt is stored once
    prompt_version: str
    intent: str | None = None  #: the batch that brought it

    @property
    def raw(self) -> str:
        """The raw reply; empty when none came."""
        return self.attempt.reply.raw if self.attempt.reply else ""

    @property
    def prompt(self) -> str:
        """The user message; empty when it is stored already."""
        return self.request.messages[-1]["content"] if self.request else ""

    @property
    def size(self) -> int:
        """Characters of its texts."""
        return len(self.raw) + len(self.prompt)


def insert_attempts(con: duckdb.DuckDBPyConnection, first_seq: int, records: Sequence[Recorded]) -> None:
    """Append attempts, numbered from ``first_seq``, and the prompts of new requests."""
    rows = [_attempt_row(first_seq + i, r) for i, r in enumerate(records)]
    con.execute(statements()["insert_attempts"], _columns(rows))
    prompts = [
        (bytes.fromhex(r.request.key), r.prompt_version, _short(r.prompt)) for r in records if r.request is not None
    ]
    if prompts:
        con.execute(statements()["insert_requests"], _columns(prompts))
    if long := [part for i, r in enumerate(records) for part in _parts(first_seq + i, r)]:
        con.execute(statements()["insert_parts"], _columns(long))
    lines = [
        (r.intent, r.run_no, bytes.fromhex(r.attempt.key), first_seq + i, "tried")
        for i, r in enumerate(records)
        if r.intent is not None
    ]
    if lines:
        con.execute(statements()["insert_batch_lines"], _columns(lines))


def insert_outcomes(con: duckdb.DuckDBPyConnection, outcomes: Sequence[tuple[int, Outcome]]) -> None:
    """Append outcomes of (run_no, outcome)."""
    for run_no, group in groupby(outcomes, itemgetter(0)):
        some = [outcome for _, outcome in group]
        ids = [o.row_id or "" for o in some]
        by = "\x1f" if "\x1f" not in "".join(ids) else token_hex(16)
        texts: dict[str, list[str]] = {
            "row_no": [str(o.row_no) for o in some],
            "row_id": ids,
            "status": [o.status for o in some],
            "key": [o.key or "" for o in some],
            "seq": ["" if o.seq is None else str(o.seq) for o in some],
            "failure": [o.failure or "" for o in some],
            "repaired": [str(o.repaired) for o in some],
        }
        con.execute(
            statements()["insert_outcomes"],
            {"run_no": run_no, "by": by, "reason": [o.reason for o in some]}
            | {name: by.join(column) for name, column in texts.items()},
        )
    climbs = [
        (run_no, o.row_no, at, bytes.fromhex(rung.key), rung.seq, rung.failure, rung.reason)
        for run_no, o in outcomes
        for at, rung in enumerate(o.rungs)
        if rung.failure is not None and rung.key != o.key
    ]
    if climbs:
        con.execute(statements()["insert_climbs"], _columns(climbs))


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
        _short(reply.raw) if reply else None,
    )


def _short(text: str) -> str | None:
    return text if len(text) <= PART else None


def _parts(seq: int, recorded: Recorded) -> Iterator[tuple[bytes, int | None, int, str]]:
    key = bytes.fromhex(recorded.attempt.key)
    for of, text in ((seq, recorded.raw), (None, recorded.prompt)):
        if len(text) > PART:
            yield from ((key, of, part_no, part) for part_no, part in enumerate(parts(text)))


def _columns(rows: Sequence[tuple[Any, ...]]) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)]
