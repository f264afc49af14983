"""Nights by provider batches that are killed again and again, each with its own bad batches::

    python -m tests.campaign.batches [NIGHTS] [SEED]

A night has a few hundred rows, random faults of batches and answers, and runs that kill -9 ends: at a step of handing
in or fetching, or at any moment. Then it is run to its end, and the server's account is compared with the ledger: no
row in two live batches, none lost, none paid twice, the same sum to the last digit. Batches that lose what they bill
are left out: they are in the tests.
"""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from urllib.request import urlopen

from llmbatch.engines.batch_api.steps import STEPS
from llmbatch.simulator import BATCH_KINDS, Batches, BatchFault, Clock, Fault, Scenario, Simulator
from tests.cli.conftest import Shell, serving, tickets
from tests.cli.test_batches import KILLED, command, spent

_LOSING = frozenset({"missing_ids", "no_output_file", "cut_line"})  #: the provider bills what it loses
_KINDS = sorted(set(BATCH_KINDS) - _LOSING)


@dataclass(frozen=True, slots=True)
class Told:
    """What a night came to."""

    kills: int
    rows: int
    batches: int
    twice_live: int
    paid_twice: int
    missing: int
    sums_differ: bool
    left: int  #: files that nobody needs, at the server and here

    @property
    def well(self) -> bool:
        """Whether everything is as promised."""
        return not (self.twice_live or self.paid_twice or self.missing or self.sums_differ or self.left)


def scenario(rng: random.Random) -> Scenario:
    """Batches of which some are wrong, and answers of which some are asked again."""
    faults = tuple(
        BatchFault.model_validate({"kind": rng.choice(_KINDS), "nth": nth}) for nth in range(1, 9) if rng.random() < 0.4
    )
    live = (Fault(kind="wrong_shape", share=0.1, times=1), Fault(kind="server_error", share=0.05, times=1))
    batches = Batches(median_s=rng.choice([20, 100, 400]), sigma=0.7, list_lag_s=rng.choice([0, 50]), window_s=3_000)
    return Scenario(seed=rng.randrange(10**6), clock=Clock(speed=1_000), batches=batches, batch=faults, fault=live)


def night(folder: Path, rng: random.Random) -> Told:
    """One night, killed up to four times."""
    shell, rows = Shell(folder), rng.randrange(60, 200)
    shell.write("in.jsonl", tickets(rows))
    with serving(scenario(rng)) as server:
        more = ("--set", "limits.max_attempts=10", "--set", "limits.max_failed=0%")
        kills = sum(killed(shell, server, rng, more) for _ in range(rng.randrange(1, 5)))
        process = shell.start(*command(server, *more), stdout=subprocess.DEVNULL)
        _, err = process.communicate(timeout=300)
        urlopen(server.base_url.removesuffix("/v1") + "/account").read()  # settles what has ended
        account = server.account
        paid = Counter(served.key for served in account.requests if served.usage)
        results = shell.results() if process.returncode == 0 else []
        if process.returncode:
            print(err)
        uploads = [f for f in server.batches.store.files.values() if f.name.startswith("llmbatch-")]
        return Told(
            kills=kills,
            rows=rows,
            batches=len(server.batches.batches),
            twice_live=account.in_two_live_batches,
            paid_twice=sum(times - 1 for times in paid.values()),
            missing=rows - sum(row["summary"] is not None for row in results),
            sums_differ=spent(shell) != account.total.dollars(Decimal("0.5"), Decimal(5)),
            left=len(uploads) + len([*(folder / ".llmbatch").glob("*.jsonl")]),
        )


def killed(shell: Shell, server: Simulator, rng: random.Random, more: tuple[str, ...]) -> bool:
    """Start a run and kill it: at a step, or at any moment. False when it ended first."""
    if rng.random() < 0.7:
        step, nth = rng.choice(STEPS), rng.choice([1, 1, 2, 3])
        line = [sys.executable, "-c", KILLED, step, str(nth), *command(server, *more)]
        process = subprocess.Popen(line, cwd=shell.folder, env=shell.env, stderr=subprocess.DEVNULL)
        return process.wait(timeout=300) == -signal.SIGKILL
    process = shell.start(*command(server, *more), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # type: ignore[assignment]
    try:
        process.wait(rng.uniform(0.5, 6))
    except subprocess.TimeoutExpired:
        process.kill()
    return process.wait() == -signal.SIGKILL


def main() -> None:
    """Run them all and say what they came to."""
    nights, seed = (int(word) for word in [*sys.argv[1:], *["25", "1"][len(sys.argv) - 1 :]])
    told = []
    for n in range(nights):
        with tempfile.TemporaryDirectory() as folder:
            told.append(night(Path(folder), random.Random(f"{seed}:{n}")))
        print(f"night {n}: {'well' if told[-1].well else 'FAIL'} {told[-1]}", flush=True)
    bad = sum(not one.well for one in told)
    kills, rows, batches = (sum(getattr(one, name) for one in told) for name in ("kills", "rows", "batches"))
    print(f"{nights} nights, {kills} kills, {rows:,} rows, {batches:,} batches: {bad} not as promised")
    sys.exit(bool(bad))


if __name__ == "__main__":
    main()
