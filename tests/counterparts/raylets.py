"""A Ray cluster of two machines on this one, in a process of its own::

    RAY_TMPDIR=FOLDER python -m tests.counterparts.raylets [CPUS ...]

One raylet for each number of CPUs. Prints its address, then the raylets' process ids, and serves until standard input
ends. It is no child of a driver, so drivers may die.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.counterparts.process import REQUIRED

_STORE_BYTES = 80 * 2**20
ROOT = Path(__file__).parents[2]


def needs_ray() -> None:
    """Without Ray a developer's test is skipped, and CI's fails."""
    if find_spec("ray") is None:
        words = "ray is not installed (pip install 'llmbatch[ray]')"
        if os.environ.get(REQUIRED):
            pytest.fail(words)
        pytest.skip(words)


@dataclass(frozen=True, slots=True)
class Raylets:
    """A cluster that runs."""

    address: str
    pids: list[int]  #: of the raylets, the head's first
    environment: dict[str, str]  #: for those who join it

    def workers(self) -> list[int]:
        """Process ids of llmbatch's actors."""
        return [pid for raylet in self.pids for pid in workers_of(raylet)]


def workers_of(pid: int) -> list[int]:
    """Process ids of llmbatch's actors among a process's descendants."""
    found = []
    for child in _children(pid):
        if b"ActorWorker" in _read(f"/proc/{child}/cmdline"):
            found.append(child)
        found += workers_of(child)
    return found


def is_at_work(pid: int) -> bool:
    """Whether an actor has begun, by the title that Ray gives its process."""
    title = _read(f"/proc/{pid}/cmdline")
    return b"ActorWorker" in title and b"open_pickled" not in title


def _children(pid: int) -> list[int]:
    return [int(child) for task in Path(f"/proc/{pid}/task").glob("*") for child in _read(f"{task}/children").split()]


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError:
        return b""  # it has ended


def wait_for_workers(pids: list[int], count: int, timeout_s: float = 60) -> list[int]:
    """Process ids of the actors below these processes, once they are so many."""
    give_up = time.monotonic() + timeout_s
    while time.monotonic() < give_up:
        if len(found := [worker for pid in pids for worker in workers_of(pid)]) >= count:
            return found
        time.sleep(0.05)
    raise AssertionError(f"there were never {count} workers")


@contextmanager
def raylets(*cpus: int) -> Iterator[Raylets]:
    """A cluster with one raylet for each number of CPUs."""
    folder = tempfile.mkdtemp(prefix="raylets-")  # short: sockets' names are
    # in spite of its name, the last one binds everything to the loopback address
    environment = {"RAY_TMPDIR": folder, "RAY_USAGE_STATS_ENABLED": "0", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
    command = [sys.executable, "-m", "tests.counterparts.raylets", *map(str, cpus)]
    try:
        with subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            address, pids = process.stdout.readline().strip(), process.stdout.readline().split()
            try:
                yield Raylets(address, [int(pid) for pid in pids], environment)
            finally:
                process.stdin.close()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def main() -> None:
    """Serve."""
    out = os.dup(1)
    os.dup2(2, 1)  # Ray prints
    Path(os.environ["RAY_TMPDIR"], "ray").mkdir(exist_ok=True)
    from ray.cluster_utils import Cluster

    cluster = Cluster()
    nodes = [
        cluster.add_node(num_cpus=int(n), object_store_memory=_STORE_BYTES, include_dashboard=False)
        for n in sys.argv[1:]
    ]
    pids = [node.all_processes["raylet"][0].process.pid for node in nodes]
    os.write(out, f"{cluster.address}\n{' '.join(map(str, pids))}\n".encode())
    sys.stdin.read()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    cluster.shutdown()  # type: ignore[no-untyped-call]


if __name__ == "__main__":
    main()
