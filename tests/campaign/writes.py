"""Stop the ledger's owner at every write and every sync of its log, one after the other.

    python -m tests.campaign.writes [--attempts 100]

strace makes the n-th call fail the process (SIGKILL) or itself (EIO, ENOSPC, all calls after it too), for n = 1, 2, ...
until a process comes to its end. Afterwards the ledger must open, hold every attempt that was acknowledged, and hold
attempts without a gap. Prints how many points there were.
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys
import tempfile
from pathlib import Path

from llmbatch.ledger import Ledger, begin, connect, examine
from llmbatch.ledger.files import wal_of
from tests.ledger.conftest import attempt, request, start

FAULTS = {
    "killed at a write": ("write,pwrite64", "signal=KILL"),
    "killed at a sync": ("fdatasync", "signal=KILL"),
    "EIO from a sync": ("fdatasync", "error=EIO"),
    "ENOSPC from a write": ("write,pwrite64", "error=ENOSPC"),
}
_GROUP = 5


def child(path: Path, attempts: int) -> None:
    """Store attempts in small commits, and say after each how many are durable."""

    async def store() -> None:
        ledger = await Ledger.open(path)
        run = await ledger.ask(lambda con: begin(con, start()))
        for first in range(0, attempts, _GROUP):
            group = range(first, first + _GROUP)
            records = (ledger.record(run.run_no, attempt(n), request(n), "v1") for n in group)
            print(max(await asyncio.gather(*records)), flush=True)
        await ledger.close()

    asyncio.run(store())


def sweep(folder: Path, name: str, attempts: int, *, first: int = 1, step: int = 1) -> int:
    """Every step-th point of one fault, until a process meets none; returns how many points there were."""
    calls, fault = FAULTS[name]
    when = first
    while True:
        path = folder / f"{name}-{when}".replace(" ", "-") / "l.duckdb"
        path.parent.mkdir()
        connect(path).close()
        after = "+" if fault.startswith("error") else ""
        inject = ["-e", f"trace={calls}", "-e", f"inject={calls}:{fault}:when={when}{after}", "-P", str(wal_of(path))]
        trace = ["strace", "-f", "-qq", "-o", "/dev/null", *inject]
        command = [
            *trace,
            sys.executable,
            "-m",
            "tests.campaign.writes",
            "--child",
            str(path),
            "--attempts",
            str(attempts),
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        durable = int((done.stdout.split() or ["0"])[-1])
        _whole(path, durable)
        if done.returncode == 0:
            return (when - first) // step
        when += step


def _whole(path: Path, durable: int) -> None:
    found = examine(path)
    assert found.healthy, found
    con = connect(path)
    seqs = [seq for (seq,) in con.execute("select seq from attempts order by seq").fetchall()]
    con.close()
    assert seqs == list(range(1, len(seqs) + 1)), f"{path}: gaps"
    assert len(seqs) >= durable, f"{path}: {durable} were durable, {len(seqs)} are there"


def main() -> int:
    """Run every sweep from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--attempts", type=int, default=100)
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        child(given.child, given.attempts)
        return 0
    for name in FAULTS:
        with tempfile.TemporaryDirectory() as folder:
            print(f"{name}: {sweep(Path(folder), name, given.attempts)} points, durable attempts lost: 0", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
