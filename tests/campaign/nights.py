"""The night that is killed: its rows, its provider, and the folder it runs in."""

from __future__ import annotations

import random
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import orjson

from llmbatch.simulator import Account, Fault, Latency, Scenario, Served, Server, Simulator
from llmbatch.simulator.asked import Asked
from llmbatch.simulator.brain import BRAINS, Echo
from llmbatch.types import Json
from tests.cli.conftest import TOML, Shell, serving

ROOT = Path(__file__).parents[2]
INPUT = "in.jsonl"
CONCURRENCY = 16
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
        wrong = re.search(
            r"wrong answer (\d)", " ".join(m["content"] for m in asked.messages if m["role"] == "assistant")
        )
        refused = int(wrong[1]) + 1 if wrong else 0  # a conversation holds the last wrong answer only
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

    def since(self, first: int) -> list[tuple[Served, float]]:
        """Requests from the first-th on, and when their answers were ready."""
        return list(zip(self.requests[first:], self.ready_at[first:], strict=True))


def scenario(seed: int) -> Scenario:
    """Answers after 20 ms or more; of the calls for shaky rows two in five fail at first, before or after payment."""

    def at_first(kind: str, share: float, **more: Any) -> Fault:
        return Fault(kind=kind, match="Shaky", times=1, share=share, **more)

    return Scenario(
        seed=seed,
        latency=Latency(median_ms=20, sigma=0.5),
        server=Server(brain="echo"),
        fault=(
            at_first("server_error", 0.2, retry_after_s=0.02, retry_after_form="seconds"),
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


@dataclass(frozen=True)
class Note:
    """A commit that was acknowledged."""

    seq: int  #: of the last attempt stored
    began_at: float  #: on the monotonic clock
    age_ms: float  #: of its oldest answer when it was durable, from its arrival on; 0 without answers
    wal_bytes: int  #: length of the ledger's log after it


def _note(line: str) -> Note:
    seq, began_ns, age_us, size = map(int, line.split())
    return Note(seq, began_ns / 1e9, age_us / 1e3, size)


class Folder(Shell):
    """A folder with a pipeline, in which llmbatch notes what is durable."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        super().__init__(folder)
        (self.pipeline / "pipeline.toml").write_text(TOML + PRICES)
        self.ledger = folder / ".llmbatch/label.duckdb"
        self.wal = folder / ".llmbatch/label.duckdb.wal"
        self.results_file = folder / "results/label/results.jsonl"
        self._notes = folder / "notes"
        self.env |= {"NOTES": str(self._notes), "PYTHONPATH": str(ROOT)}

    def copy(self, to: Path) -> Folder:
        """The same folder in another place."""
        copy = Folder(to)
        shutil.copytree(self.folder, to, dirs_exist_ok=True)
        return copy

    @property
    def checkpoints_often(self) -> bool:
        """Whether DuckDB takes its log into the database at every 512 KB."""
        return "CHECKPOINT" in self.env

    @checkpoints_often.setter
    def checkpoints_often(self, often: bool) -> None:
        self.env |= {"CHECKPOINT": "512KB"} if often else {}

    def start(self, *args: object, **popen: Any) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "tests.campaign.noting", *map(str, args)]
        streams = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
        return subprocess.Popen(command, cwd=self.folder, env=self.env, text=True, **{**streams, **popen})

    def begin(self, input: str, server: Simulator) -> subprocess.Popen[str]:
        """Start a run."""
        where = ("-i", input, "--base-url", server.base_url)
        return self.start("run", "label", *where, "--concurrency", CONCURRENCY, "--max-failed", "100%", "--quiet")

    def finish(self, input: str, server: Simulator) -> None:
        """Run to the end."""
        process = self.begin(input, server)
        _, err = process.communicate(timeout=300)
        assert (process.returncode, err) == (0, ""), err

    def doctor(self, *args: str) -> dict[str, Any]:
        """What `llmbatch doctor` says."""
        out, _ = self.start("doctor", "label", "--json", *args, stdout=subprocess.PIPE).communicate()
        told: dict[str, Any] = orjson.loads(out)
        return told

    @property
    def notes(self) -> list[Note]:
        """Every commit that llmbatch was told of, in order."""
        return [_note(line) for line in self._notes.read_text().splitlines()]

    @property
    def last_note(self) -> Note:
        """The last of them, without reading all."""
        return _note(self._notes.read_bytes()[-120:].decode().splitlines()[-1])

    @property
    def wal_bytes(self) -> int:
        """Length of the ledger's log now."""
        try:
            return self.wal.stat().st_size
        except FileNotFoundError:
            return 0

    def failed(self) -> list[dict[str, Any]]:
        """The failed rows, without their last replies: those have a number and a time of their own."""
        lines = (self.folder / "results/label/failed.jsonl").read_bytes().splitlines()
        return [{name: value for name, value in orjson.loads(line).items() if name != "last_reply"} for line in lines]

    def leftovers(self) -> list[Path]:
        """Temporary files that should be gone."""
        return [path for path in self.folder.rglob("*") if path.suffix in {".tmp", ".spill", ".new"}]
