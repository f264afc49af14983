"""The night that is killed: its rows, its provider, and the folder it runs in."""

from __future__ import annotations

import random
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from llmbatch.simulator import Account, Fault, Latency, Scenario, Served, Server, Simulator
from llmbatch.simulator.asked import Asked
from llmbatch.simulator.brain import BRAINS, Echo
from llmbatch.types import Json
from tests.cli.conftest import TOML, Shell, serving

ROOT = Path(__file__).parents[2]
CONCURRENCY = 32
PRICES = "\n[prices.m-1]\ninput = 0.25\noutput = 2.0\n"


def rows(count: int, seed: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Last night's rows and tonight's: a third of tonight's are known, every twentieth is a twin of another."""
    rng = random.Random(seed)
    numbers = rng.sample(range(10 * count), count)
    known = [*numbers[: count // 3], *range(10 * count, 10 * count + count // 10)]
    twins = rng.sample(numbers, count // 20)
    tonight = [_row(f"r{n}", n) for n in numbers[: -len(twins)]] + [_row(f"twin-{n}", n) for n in twins]
    rng.shuffle(tonight)
    return [_row(f"r{n}", n) for n in known], tonight


def _row(name: str, n: int) -> dict[str, Any]:
    shaky = n % 5 == 1 and not Steady.stubborn(n)
    return {"id": name, "text": f"Ticket number {n}: the invoice of month {n} is wrong.{' Shaky.' * shaky}"}


class Steady(Echo):
    """Answers by what is asked alone, so that a call which is repeated after a kill brings the same answer.

    One row in seven is answered wrongly at first, one in 49 twice, one in 17 always.
    """

    @staticmethod
    def stubborn(n: int) -> bool:
        return n % 17 == 3

    def answer(self, asked: Asked) -> dict[str, Json]:
        found = re.search(r"number (\d+)", asked.user_text)
        assert found is not None
        n = int(found[1])
        refused = sum(message["role"] == "assistant" for message in asked.messages)
        if self.stubborn(n) or refused < (n % 7 == 2) + (n % 49 == 2):
            return {"result": f"wrong answer {refused} to ticket {n}"}
        return {"summary": f"answer {refused} to ticket {n}"}


class Clocked(Account):
    """An account that also says when the answer to each request was ready to be sent."""

    def __init__(self) -> None:
        super().__init__()
        self.ready_at: list[float] = []

    def add(self, served: Served) -> None:
        super().add(served)
        self.ready_at.append(time.monotonic())


def scenario(seed: int) -> Scenario:
    """Answers after 20 ms or more; of the calls for shaky rows two in five fail at first, before or after payment."""

    def at_first(kind: str, share: float, **more: Any) -> Fault:
        return Fault(kind=kind, match="Shaky", times=1, share=share, **more)

    soon = {"retry_after_s": 0.02, "retry_after_form": "seconds"}
    return Scenario(
        seed=seed,
        latency=Latency(median_ms=20, sigma=0.5),
        server=Server(brain="echo"),
        fault=(
            at_first("server_error", 0.2, **soon),
            at_first("rate_limited", 0.02, **soon),
            at_first("reset_before", 0.1),
            at_first("reset_mid", 0.05),
            at_first("reset_after_execution", 0.05),
        ),
    )


@contextmanager
def provider(seed: int) -> Iterator[tuple[Simulator, Clocked]]:
    """A provider that has met nobody yet."""
    with patch.dict(BRAINS, echo=Steady), serving(scenario(seed)) as server:
        server.account = account = Clocked()
        yield server, account


class Folder(Shell):
    """A folder with a pipeline, in which llmbatch notes what is durable."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        super().__init__(folder)
        (self.pipeline / "pipeline.toml").write_text(TOML + PRICES)
        self.notes = folder / "notes"
        self.env |= {"NOTES": str(self.notes), "PYTHONPATH": str(ROOT)}
        self.ledger = folder / ".llmbatch/label.duckdb"
        self.results = folder / "results/label/results.jsonl"

    def start(self, *args: object, **popen: Any) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "tests.campaign.noting", *map(str, args)]
        streams = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
        return subprocess.Popen(command, cwd=self.folder, env=self.env, text=True, **{**streams, **popen})

    def begin(self, input: str, server: Simulator) -> subprocess.Popen[str]:
        """Start a run."""
        return self.start(
            "run", "label", "-i", input, "--base-url", server.base_url, "--concurrency", CONCURRENCY, "--quiet",
            "--max-failed", "100%",
        )  # fmt: skip

    def finish(self, input: str, server: Simulator) -> None:
        """Run to the end."""
        process = self.begin(input, server)
        _, err = process.communicate(timeout=300)
        assert (process.returncode, err) == (0, ""), err
