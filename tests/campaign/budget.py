"""Random nights under a budget: by the provider's own account the spend never passes it::

    python -m tests.campaign.budget --runs 500 --kills 20 --seed 1

Every night has rows, concurrency, cap and faults of its own, and is gone on with under the same cap until it ends or
nothing more fits. The provider costs nearly what a call can cost at most (a byte is a token, answers fill their
bound), because a cap that is never near proves nothing. The kills are of processes, with calls in flight.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any
from unittest.mock import patch

from llmbatch.simulator import Account, Fault, Latency, Scenario, Server, Simulator
from llmbatch.simulator.asked import Asked
from llmbatch.simulator.brain import BRAINS, Echo
from llmbatch.types import Json, Status
from tests.cli.conftest import Shell, serving
from tests.engines.conftest import Nights, rows

PRICE = Decimal(1000)  #: dollars per million tokens, in and out
PRICES = {"m-1": {"input": PRICE, "output": PRICE, "cached": 100}}
MOST_RUNS = 4  #: of a night
#: faults that may cost without an answer, cost an answer that is no use, or cost nothing
KINDS: tuple[dict[str, Any], ...] = (
    {"kind": "reset_after_execution"},
    {"kind": "reset_mid"},
    {"kind": "slow_body", "bytes_per_s": 2_000},
    {"kind": "hang", "seconds": 1},
    {"kind": "wrong_length"},
    {"kind": "cut_json_body"},
    {"kind": "no_choices"},
    {"kind": "wrong_shape"},
    {"kind": "truncated"},
    {"kind": "not_json"},
    {"kind": "refusal"},
    {"kind": "missing_usage"},
    {"kind": "negative_usage"},
    {"kind": "huge_usage"},
    {"kind": "other_model"},
    {"kind": "other_tier", "tier": "scale"},
    {"kind": "server_error"},
    {"kind": "rate_limited", "retry_after_s": 0.02},
    {"kind": "reset_before"},
    {"kind": "empty_200"},
)


class Greedy(Echo):
    """Costs nearly what a call can cost at most."""

    def answer(self, asked: Asked) -> dict[str, Json]:
        return {"summary": "x" * max(1, (asked.max_tokens or 0) - 20)}

    def tokens(self, text: str) -> int:
        return len(text.encode())


@dataclass(frozen=True, slots=True)
class Night:
    """What is drawn."""

    texts: tuple[int, ...]  #: lengths of the rows' texts
    most_output: int
    concurrency: int | str
    cap: Decimal
    faults: tuple[Fault, ...]
    hedge: bool
    latency_ms: float
    cached_share: float


@dataclass(frozen=True, slots=True)
class Spent:
    """What came of a night."""

    cap: Decimal
    spent: Decimal
    runs: int
    stopped: bool  #: by the budget
    done: int

    @property
    def over(self) -> bool:
        """Whether the provider bills more than was allowed."""
        return self.spent > self.cap


def drawn(rng: random.Random) -> Night:
    """A night at random. Its cap is a part of what its rows would cost, or more than enough."""
    texts = tuple(rng.choice((1, 20, 200, 2_000)) + rng.randrange(50) for _ in range(rng.randrange(1, 41)))
    most_output = rng.choice((50, 200, 1_000))
    whole = sum(length + 60 + most_output for length in texts) * PRICE / 1_000_000
    kinds = rng.sample(KINDS, rng.randrange(0, 5))
    return Night(
        texts=texts,
        most_output=most_output,
        concurrency=rng.choice((1, 2, 4, 16, 64, "auto")),
        cap=(whole * Decimal(str(round(rng.choice((0.05, 0.2, 0.5, 0.8, 1.0, 1.5, 4.0)) * rng.uniform(0.7, 1.3), 3)))),
        faults=tuple(Fault(share=rng.choice((0.05, 0.2, 0.5)), **kind) for kind in kinds),
        hedge=rng.random() < 0.2,
        latency_ms=rng.choice((0, 0, 5, 30)),
        cached_share=rng.choice((0, 0.3)),
    )


def billed(account: Account) -> Decimal:
    """What the provider bills, delivered or not."""
    return account.total.dollars(PRICE, PRICE, Decimal(100))


async def spend(folder: Path, night: Night, seed: int) -> Spent:
    """Run the night under its cap, again and again, and hold the provider's account against it."""
    scenario = Scenario(
        seed=seed,
        fault=night.faults,
        latency=Latency(median_ms=night.latency_ms, sigma=0.5),
        server=Server(brain="echo", cached_share=night.cached_share),
    )
    limits = {"concurrency": night.concurrency, "budget_usd": night.cap, "timeout_s": 0.3, "hedge": night.hedge}
    with patch.dict(BRAINS, echo=Greedy):
        server = Simulator(scenario)
    async with server:
        params = {"max_completion_tokens": night.most_output}
        nights = Nights(folder, server.base_url, limits=limits, prices=PRICES, params=params)
        over = rows(f"{number} {'é' * (length // 2)}" for number, length in enumerate(night.texts))
        stopped, done, number = False, 0, 0
        while number < MOST_RUNS:
            before, number = server.account.total.requests, number + 1
            ended = await nights.run(over)
            done = ended.tally.rows[Status.DONE] + ended.tally.rows[Status.REUSED]
            stopped = ended.halt.reason is not None
            if not stopped or server.account.total.requests == before:
                break
        while server.account.in_flight:  # the provider bills whoever has stopped listening
            await asyncio.sleep(0.005)
        return Spent(night.cap, billed(server.account), number, stopped, done)


def campaign(folder: Path, *, runs: int, seed: int) -> list[Spent]:
    """So many nights, each in a folder of its own."""
    found = []
    for number in range(runs):
        rng = random.Random(f"{seed} {number}")
        place = folder / f"{number}"
        place.mkdir()
        found.append(asyncio.run(spend(place, drawn(rng), number)))
        assert not found[-1].over, f"seed {seed}, night {number}: {found[-1]}"
    return found


TOML = """
[prices.m-1]
input = 1000
output = 1000
"""


def killed(folder: Path, rng: random.Random) -> tuple[Decimal, Decimal, int]:
    """A night of processes, killed two to five times with calls in flight: its cap, its spend, its kills."""
    shell = Shell(folder)
    with (shell.pipeline / "pipeline.toml").open("a") as file:
        file.write(TOML)
    shell.write("in.jsonl", [{"id": f"r{n}", "text": "y" * rng.randrange(1, 400)} for n in range(60)])
    most_output, calls = rng.choice((500, 2_000)), rng.choice((2, 4, 8))
    whole = 60 * (300 + most_output) * PRICE / 1_000_000
    cap = whole * Decimal(str(round(rng.uniform(0.3, 0.9), 2)))
    flags = ("--set", f"request.params.max_completion_tokens={most_output}", "--concurrency", calls, "--budget", cap)
    slow = Scenario(seed=rng.randrange(1_000), latency=Latency(median_ms=150, sigma=0.5), server=Server(brain="echo"))
    kills = 0
    with patch.dict(BRAINS, echo=Greedy), serving(slow) as server:
        for _ in range(rng.randrange(2, 6)):
            where = ("run", "label", "-i", "in.jsonl", "--base-url", server.base_url, *flags, "--quiet")
            process = shell.start(*where)
            asked = server.account.total.requests
            while process.poll() is None and server.account.total.requests + server.account.in_flight == asked:
                time.sleep(0.005)
            time.sleep(rng.uniform(0, 0.6))
            if process.poll() is None:
                kills += 1
                process.send_signal(signal.SIGKILL)
            process.communicate()
        shell.call("run", "label", "-i", "in.jsonl", "--base-url", server.base_url, *flags, "--quiet", expect=None)
        while server.account.in_flight:
            time.sleep(0.005)
        return cap, server.account.total.dollars(PRICE, PRICE), kills


def told(found: Sequence[Spent], seconds: float) -> str:
    """The campaign in a few lines."""
    near = sum(each.spent > each.cap * Decimal("0.8") for each in found)
    runs = Counter(each.runs for each in found)
    most = max(each.spent / each.cap for each in found)
    return (
        f"{len(found)} nights, {sum(each.runs for each in found)} runs in {seconds:.0f} s: spend above the cap"
        f" {sum(each.over for each in found)} times, {most:.1%} of it at most, over 80 % of it in {near} nights;"
        f" {sum(each.stopped for each in found)} ended at the budget; nights by runs: {dict(sorted(runs.items()))}"
    )


def main() -> int:
    """Run the campaign from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=500)
    parser.add_argument("--kills", type=int, default=20, help="nights of processes that are killed")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        print(told(campaign(Path(folder), runs=args.runs, seed=args.seed), time.monotonic() - began), flush=True)
        kills, over, most = 0, 0, Decimal(0)
        for number in range(args.kills):
            place = Path(folder) / f"killed-{number}"
            place.mkdir()
            cap, spent, times = killed(place, random.Random(f"{args.seed} killed {number}"))
            kills, over, most = kills + times, over + (spent > cap), max(most, spent / cap)
    print(f"{args.kills} nights with {kills} kills: spend above the cap {over} times, {most:.1%} of it at most")
    return 1 if over else 0


if __name__ == "__main__":
    sys.exit(main())
