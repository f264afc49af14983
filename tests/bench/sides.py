"""Both sides of a comparison, each as a process beside a server of its own, and what that server saw."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from llmbatch.simulator import Scenario
from tests.cli.conftest import SCHEMA, Shell

Rows = list[dict[str, Any]]
PLAIN = 64  #: calls at a time in the plain loop


@dataclass(frozen=True, slots=True)
class Seen:
    """One request, as the server saw it."""

    at_s: float  #: since the first
    status: int | None
    tokens: int  #: billed, in and out; 0 when not answered
    user: str  #: hash of the user message: which row

    @property
    def paid(self) -> bool:
        """Whether the model ran."""
        return self.tokens > 0


@dataclass(frozen=True, slots=True)
class Side:
    """How one side did."""

    rows: int
    lost: int  #: rows without an answer at the end
    p50_s: float  #: median latency as the client saw it
    seen: Sequence[Seen]  #: in order of arrival
    changes: Sequence[dict[str, Any]] = ()  #: of the limits, from the report

    @property
    def last_s(self) -> float:
        """When the last request that was answered came in."""
        return max((seen.at_s for seen in self.seen if seen.paid), default=0.0)

    def paid(self, from_s: float, to_s: float) -> int:
        """Answered requests that came in within a time."""
        return sum(seen.paid and from_s <= seen.at_s < to_s for seen in self.seen)

    def rate(self, from_s: float, to_s: float) -> float:
        """The same, a second."""
        return self.paid(from_s, to_s) / (to_s - from_s) if to_s > from_s else 0.0

    def requests(self, from_s: float, to_s: float) -> int:
        """Requests that came in within a time, whatever became of them."""
        return sum(from_s <= seen.at_s < to_s for seen in self.seen)

    def share(self, status: int, from_s: float = 0.0) -> float:
        """Part of the requests from a moment on that got this status."""
        late = [seen for seen in self.seen if seen.at_s >= from_s]
        return sum(seen.status == status for seen in late) / max(len(late), 1)


@dataclass(frozen=True, slots=True)
class Case:
    """What both sides meet."""

    scenario: Scenario
    rows: Rows
    settings: tuple[str, ...] = ()  #: as for ``--set``
    concurrency: str = "auto"  #: of llmbatch
    change: tuple[float, float] | None = None  #: (seconds, requests a minute from then on)
    flags: tuple[str, ...] = ()  #: of llmbatch


def both(case: Case, folder: Path) -> tuple[Side, Side]:
    """llmbatch and the plain loop at the same time: neither needs a whole core."""
    with ThreadPoolExecutor(2) as pool:
        ours = pool.submit(llmbatch, case, folder / "llmbatch")
        theirs = pool.submit(plain, case, folder / "plain")
        return ours.result(), theirs.result()


def llmbatch(case: Case, folder: Path) -> Side:
    """The program itself, with everything on."""
    folder.mkdir(parents=True)
    shell = Shell(folder)
    shell.write("in.jsonl", case.rows)
    words = ["run", "label", "-i", "in.jsonl", "--quiet", "--max-failed", "100%", "--concurrency", case.concurrency]
    words += case.flags
    for setting in ("limits.timeout_s=60", *case.settings):
        words += ["--set", setting]
    with _server(case, folder) as url:
        process = shell.start(*words, "--base-url", url)
        _pin(process.pid, server=False)
        _, errors = process.communicate()
        if process.returncode != 0:
            raise RuntimeError(f"llmbatch ended with {process.returncode}\n{errors}")
        report = json.loads((folder / "results/label/report.json").read_bytes())
        rows = report["rows"]
        p50 = (report["latency_ms"]["p50"] or 0) / 1000
        return Side(rows["total"], rows["total"] - rows["done"], p50, _seen(url), report["limits"]["changes"])


def plain(case: Case, folder: Path, concurrency: int = PLAIN) -> Side:
    """The plain loop."""
    folder.mkdir(parents=True)
    (folder / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in case.rows))
    (folder / "schema.json").write_text(SCHEMA)
    with _server(case, folder) as url:
        words = [url, str(folder / "in.jsonl"), str(folder / "schema.json"), str(concurrency)]
        process = subprocess.Popen([sys.executable, "-m", "tests.bench.plain", *words], stdout=subprocess.PIPE)
        _pin(process.pid, server=False)
        out, _ = process.communicate()
        if process.returncode != 0:
            raise RuntimeError(f"the plain loop ended with {process.returncode}")
        said = json.loads(out)
        return Side(len(case.rows), said["lost"], said["p50_s"] or 0.0, _seen(url))


def user(row: dict[str, Any]) -> str:
    """How the server names a row."""
    return sha256(f"Summarise: {row['text']}".encode()).hexdigest()


@contextmanager
def _server(case: Case, folder: Path) -> Iterator[str]:
    (folder / "scenario.json").write_text(case.scenario.model_dump_json(exclude_unset=True))
    words = [str(folder / "scenario.json"), *map(str, case.change or ())]
    command = [sys.executable, "-m", "tests.bench.server", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        _pin(process.pid, server=True)
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


def _pin(pid: int, *, server: bool) -> None:
    """The server on the last core, clients on the others, where the system lets us choose."""
    if hasattr(os, "sched_setaffinity") and len(cores := sorted(os.sched_getaffinity(0))) > 1:
        os.sched_setaffinity(pid, cores[-1:] if server else cores[:-1])


def _seen(url: str) -> list[Seen]:
    with urllib.request.urlopen(url.removesuffix("/v1") + "/account") as answer:
        account = json.load(answer)
    found = []
    for served in account["requests"]:
        usage = served["usage"]
        tokens = usage["input"] + usage["output"] if usage else 0
        found.append(Seen(served["at_s"], served["status"], tokens, served["user_hash"]))
    return sorted(found, key=lambda seen: seen.at_s)
