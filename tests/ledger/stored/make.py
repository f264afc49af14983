"""Write a ledger of the present schema version: two nights, with every kind of attempt and outcome."""

import asyncio
import gzip
import tempfile
from pathlib import Path
from typing import Any

from llmbatch.ledger import Ledger, begin, end
from llmbatch.ledger.schema import SCHEMA_VERSION
from llmbatch.types import Outcome, Rung, Status
from tests.ledger.conftest import attempt, body, key, request, start

LOST: dict[str, Any] = {"outcome": "timeout", "reply": None, "cost_usd": None, "failure": "timeout"}
REJECTED: dict[str, Any] = {**LOST, "outcome": "rejected", "failure": "context_length", "reason": "too long"}


async def write(path: Path) -> None:
    """Night one: answers, an invalid one and its re-ask, a time-out, a rejection. Night two: reuse, then a kill."""
    ledger = await Ledger.open(path)
    first = await ledger.ask(lambda con: begin(con, start(total=4)))
    await ledger.record(first.run_no, attempt(1, raw=body('{"a": "café \U0001f980"}')), request(1), "v1")
    await ledger.record(first.run_no, attempt(2, raw=body("no JSON")), request(2), "v1")
    await ledger.record(first.run_no, attempt(2, number=2), None, "v1")
    await ledger.record(first.run_no, attempt(3, possibly_paid=True, **LOST), request(3), "v1")
    await ledger.record(first.run_no, attempt(4, **REJECTED), request(4), "v1")
    ledger.settle(first.run_no, Outcome(0, Status.DONE, "a", key(1), 1))
    climbed = (Rung("small", key(4), 5, "context_length", "too long", None), Rung("large", key(2), 3, None, None, None))
    ledger.settle(first.run_no, Outcome(1, Status.DONE, "b", key(2), 3, repaired=True, rungs=climbed))
    ledger.settle(first.run_no, Outcome(2, Status.FAILED, "c", key(3), None, "timeout", "no answer"))
    ledger.settle(first.run_no, Outcome(3, Status.FAILED, "d", key(4), None, "context_length", "too long"))
    report = '{"status": "finished"}'
    await ledger.ask(
        lambda con: end(con, first, ended_at=first.started_at + 60, status="finished", exit_code=0, report=report)
    )
    second = await ledger.ask(lambda con: begin(con, start(fingerprint="f2", total=2)))
    ledger.settle(second.run_no, Outcome(0, Status.REUSED, "a", key(1), 1))
    await ledger.record(second.run_no, attempt(5), request(5), "v1")
    await ledger.close()


def main() -> None:
    """Write it, unless it is there."""
    target = Path(__file__).parent / f"v{SCHEMA_VERSION}.duckdb.gz"
    if target.exists():
        raise SystemExit(f"{target.name} is there, and stays as it is")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "l.duckdb"
        asyncio.run(write(path))
        target.write_bytes(gzip.compress(path.read_bytes(), 9))


if __name__ == "__main__":
    main()
