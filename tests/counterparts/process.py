"""Real servers for tests: started on a free port of this machine, with files of their own, and ended with the test."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

REQUIRED = "LLMBATCH_TEST_COUNTERPARTS"  #: set in CI: a server that is not installed fails its tests


def needs(program: str, package: str) -> str:
    """The program's path. Without it a developer's test is skipped, and CI's fails."""
    found = shutil.which(program)
    if found is None:
        words = f"{program} is not installed (apt-get install {package})"
        if os.environ.get(REQUIRED):
            pytest.fail(words)
        pytest.skip(words)
    return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def serving(
    command: list[str], port: int, log: Path, *, env: Mapping[str, str] | None = None, patience_s: float = 60.0
) -> Iterator[subprocess.Popen[bytes]]:
    """Within: a process group that listens on ``port``."""
    with log.open("ab") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, env=env, start_new_session=True, cwd=log.parent)
    try:
        _wait(process, port, log, patience_s)
        yield process
    finally:
        end(process)


def end(process: subprocess.Popen[bytes]) -> None:
    """Its whole group: a server's helpers go with it."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            break
        try:
            process.wait(timeout=10 if number == signal.SIGTERM else 5)
            break
        except subprocess.TimeoutExpired:
            continue
    process.wait()


def _wait(process: subprocess.Popen[bytes], port: int, log: Path, patience_s: float) -> None:
    give_up = time.monotonic() + patience_s
    while time.monotonic() < give_up:
        if process.poll() is not None:
            break
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise RuntimeError(f"no server on port {port}:\n{log.read_text(errors='replace')[-2000:]}")
