"""A ledger as a night over an input would leave it that was killed before its report, written in bulk."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import orjson

from llmbatch.cli.make import usable
from llmbatch.ledger import RunStart, begin, connect
from llmbatch.ledger.writer import Recorded, insert_attempts, insert_outcomes
from llmbatch.reply import parse_reply
from llmbatch.source import open_source
from llmbatch.types import Attempt, Outcome, Request, Status

_AT_ONCE = 2_000


def store(ledger: Path, pipeline_folder: Path, input_file: Path, *, leave_out: int = 0) -> None:
    """Store an answer for every row, but for every ``leave_out``-th."""
    pipeline, renderer = usable(pipeline_folder, ())
    ledger.parent.mkdir(exist_ok=True)
    con = connect(ledger)
    source = open_source([str(input_file)], ledger.parent)
    total = sum(1 for _ in source.rows())
    run = begin(con, _start(pipeline.name, pipeline.version, pipeline.settings.request.model, total))
    requests = (
        renderer.request(row) for row in source.rows() if not leave_out or row.row_no % leave_out != leave_out - 1
    )
    seq = 1
    for batch in _batches(requests):
        con.execute("begin")
        records = [Recorded(run.run_no, _attempt(request), request, pipeline.version) for request in batch]
        insert_attempts(con, seq, records)
        outcomes = [(run.run_no, Outcome(r.row_no, Status.DONE, key=r.key, seq=seq + i)) for i, r in enumerate(batch)]
        insert_outcomes(con, outcomes)
        con.execute("commit")
        seq += len(batch)
    con.close()


def _batches(requests: Iterator[Request]) -> Iterator[list[Request]]:
    while batch := list(islice(requests, _AT_ONCE)):
        yield batch


def _attempt(request: Request) -> Attempt:
    n = request.row_no
    return Attempt(
        key=request.key,
        row_no=n,
        number=1,
        asked_at=1_790_000_000 + n / 1000,
        latency_s=0.1 + n % 97 / 1000,
        outcome="answered",
        http_status=200,
        reason=None,
        failure=None,
        reply=parse_reply(_body(n)),
        cost_usd=None,
    )


def _body(n: int) -> str:
    summary = f"The customer asks about invoice {n}, and whether it was sent to the right address on day {n % 31}."
    content = orjson.dumps(
        {"label": ("billing", "shipping", "login")[n % 3], "confidence": n % 100 / 100, "summary": summary}
    )
    choice = {"index": 0, "message": {"role": "assistant", "content": content.decode()}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 250 + n % 50, "completion_tokens": 30, "total_tokens": 280 + n % 50}
    fields = {"id": f"chatcmpl-{n:x}", "object": "chat.completion", "created": 1_790_000_000, "model": "m-1"}
    return orjson.dumps({**fields, "choices": [choice], "usage": usage}).decode()


def _start(pipeline: str, version: str, model: str, total: int) -> RunStart:
    return RunStart(
        pipeline=pipeline,
        version=version,
        label=None,
        model=model,
        system=None,
        params="{}",
        schema="{}",
        prompt="",
        hooks=None,
        input="in.jsonl",
        fingerprint="another",
        total=total,
        settings="{}",
    )
