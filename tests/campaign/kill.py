"""Kill a run with ``kill -9`` at random moments, repeat the same command, compare with an unbroken run.

    python -m tests.campaign.kill --rows 5000 --kills 5 --seed 1

Prints, per kill, how many replies were paid twice beside what the promise allows: those in flight and those of one
commit window.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from llmbatch.simulator import Fault, Latency, Scenario, Server, Simulator
from tests.cli.conftest import Shell, serving, tickets

CONCURRENCY = 32


@dataclass(frozen=True)
class Broken:
    """What a night of kills came to."""

    kills: int
    rows: int
    paid_twice: int
    most_allowed: int  #: in flight and a commit window, for every kill
    sent_after_all: int  #: by one run more
    same_bytes: bool


def scenario(seed: int) -> Scenario:
    """Answers after 20 ms or more; some are invalid at first, some never valid, some calls fail."""
    return Scenario(
        seed=seed,
        latency=Latency(median_ms=20, sigma=0.5),
        server=Server(brain="echo"),
        fault=(
            Fault(kind="wrong_shape", match="7:", times=1, share=0.5),
            Fault(kind="not_json", match="13:"),
            Fault(kind="refusal", match="31:"),
        ),
    )


def night(folder: Path, rows: int, server: Simulator, kill_at: list[float]) -> Shell:
    """Run a pipeline to its end, killed after each of ``kill_at`` seconds."""
    folder.mkdir()
    shell = Shell(folder)
    shell.write("in.jsonl", tickets(rows) + [{**row, "id": "twin-" + row["id"]} for row in tickets(rows // 20)])
    command = ["run", "label", "-i", "in.jsonl", "--base-url", server.base_url, "--concurrency", CONCURRENCY, "--quiet"]
    command += ["--max-failed", "100%"]
    for pause in kill_at:
        before = server.account.total.requests
        process = shell.start(*command)
        while server.account.total.requests == before and process.poll() is None:
            time.sleep(0.01)
        time.sleep(pause)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    shell.call(*command)
    return shell


def campaign(folder: Path, *, rows: int, kills: int, seed: int) -> Broken:
    """One unbroken night, one broken one, and one run more."""
    rng = random.Random(seed)
    with serving(scenario(seed)) as server:
        whole = night(folder / "whole", rows, server, [])
        unbroken = server.account.total.paid
    with serving(scenario(seed)) as server:
        seconds = rows / CONCURRENCY * 0.03 / kills
        broken = night(folder / "broken", rows, server, [rng.uniform(0, seconds) for _ in range(kills)])
        requests, paid = server.account.total.requests, server.account.total.paid
        results = "results/label/results.jsonl"
        same = (whole.folder / results).read_bytes() == (broken.folder / results).read_bytes()
        again = broken.run("-i", "in.jsonl", "--max-failed", "100%", url=server.base_url)
        after = server.account.total.requests - requests
    assert again["rows"]["pending"] == 0
    assert again["rows"]["done"] == 0
    return Broken(
        kills=kills,
        rows=rows + rows // 20,
        paid_twice=paid - unbroken,
        most_allowed=kills * 2 * CONCURRENCY,
        sent_after_all=after,
        same_bytes=same,
    )


def main() -> int:
    """Run a campaign from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=5_000)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        broken = campaign(Path(folder), rows=args.rows, kills=args.kills, seed=args.seed)
    print(json.dumps(vars(broken), indent=2))
    sound = broken.same_bytes and not broken.sent_after_all and broken.paid_twice <= broken.most_allowed
    return 0 if sound else 1


if __name__ == "__main__":
    sys.exit(main())
