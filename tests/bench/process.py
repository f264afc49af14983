"""A process with what it cost, and the server beside it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import ParamSpec, TypeVar

import orjson

P = ParamSpec("P")
T = TypeVar("T")

WORDS = "the invoice order customer login page error refund delayed shipment broken account please help".split()  # noqa: SIM905
SCHEMA = (
    '{"type": "object", "required": ["label", "confidence", "summary"], "additionalProperties": false, "properties": '
    '{"label": {"type": "string"}, "confidence": {"type": "number"}, "summary": {"type": "string"}}}'
)
LLMBATCH = [sys.executable, "-m", "llmbatch"]


@dataclass(frozen=True, slots=True)
class Cost:
    """What a process took."""

    cpu_s: float  #: user and system, of all its threads
    wall_s: float
    rss_mb: float  #: at most
    began: float  #: seconds since the epoch
    said: str  #: on standard error


def cost_of(command: list[str], folder: Path, *, core: int | None = 0) -> Cost:
    """Run a command to its end, pinned to a core where there are two. Raises SystemExit when it fails."""
    began, clock = time.time(), time.perf_counter()
    with (folder / "stderr").open("w+") as errors:
        process = subprocess.Popen(
            pinned(command, core), cwd=folder, stdout=subprocess.DEVNULL, stderr=errors, env=_environment()
        )
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        wall = time.perf_counter() - clock
        errors.seek(0)
        said = errors.read()
    if process.returncode:
        raise SystemExit(f"{command[:4]} ended with {process.returncode}\n{said[-2000:]}")
    return Cost(used.ru_utime + used.ru_stime, wall, used.ru_maxrss / 1024, began, said)


def apart(fn: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call in a process of its own: what a process has in memory counts towards the peak of those it starts."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(fn, *args, **kwargs).result()


def pinned(command: list[str], core: int | None) -> list[str]:
    """The command on a core of its own, where there are two."""
    return command if core is None or (os.cpu_count() or 1) < 2 else ["taskset", "-c", str(core), *command]


@contextmanager
def serving(port: int, latency_ms: int) -> Iterator[str]:
    """The fast server on the second core; gives its base URL."""
    command = pinned([sys.executable, "-m", "tests.bench.fast", str(port), str(latency_ms)], 1)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        server.stdout.readline()
        try:
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            server.terminate()


def write_rows(path: Path, count: int) -> None:
    """Rows of about 1 kB."""
    with path.open("wb") as file:
        for n in range(count):
            words = " ".join(WORDS[(n * 7 + i * 3) % len(WORDS)] for i in range(150))
            file.write(orjson.dumps({"id": f"T-{n}", "text": f"Ticket number {n}: {words}"}) + b"\n")


def write_pipeline(folder: Path) -> None:
    """A pipeline as ``llmbatch init`` makes it, without a check, for the answers of fast.py."""
    subprocess.run([*LLMBATCH, "init", "p"], cwd=folder, check=True, stdout=subprocess.DEVNULL, env=_environment())
    (folder / "p/hooks.py").unlink()
    (folder / "p/schema.json").write_text(SCHEMA)


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
