"""The program as a person or cron starts it: a process of its own, a simulator for a provider."""

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest

from llmbatch.simulator import Scenario, Simulator

TOML = """\
[request]
model = "m-1"
params = { max_completion_tokens = 200 }

[input]
id = "id"
require = ["text"]

[limits]
concurrency = 16
timeout_s = 5
max_failed = "0%"
"""
SCHEMA = '{"type": "object", "properties": {"summary": {"type": "string"}}, "required": ["summary"]}'


@contextmanager
def serving(scenario: Scenario) -> Iterator[Simulator]:
    """A simulator in a thread of its own, so that tests may wait for processes."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    async def start() -> Simulator:
        server = Simulator(scenario)
        await server.start()
        return server

    server = asyncio.run_coroutine_threadsafe(start(), loop).result()
    try:
        yield server
    finally:
        asyncio.run_coroutine_threadsafe(server.stop(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


Serve = Callable[[Scenario], Simulator]


@pytest.fixture
def serve() -> Iterator[Serve]:
    from contextlib import ExitStack

    with ExitStack() as stack:
        yield lambda scenario: stack.enter_context(serving(scenario))


class Shell:
    """A folder with a pipeline in it, in which llmbatch is called."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.pipeline = folder / "label"
        self.pipeline.mkdir()
        (self.pipeline / "pipeline.toml").write_text(TOML)
        (self.pipeline / "prompt.j2").write_text("Summarise: {{ text }}")
        (self.pipeline / "schema.json").write_text(SCHEMA)
        self.env = {k: v for k, v in os.environ.items() if not k.startswith(("OPENAI_", "AZURE_"))}
        self._started: list[subprocess.Popen[str]] = []

    def write(self, name: str, rows: list[dict[str, Any]]) -> Path:
        path = self.folder / name
        path.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
        return path

    def start(self, *args: object, **popen: Any) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "llmbatch", *map(str, args)]
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        self._started.append(
            subprocess.Popen(command, cwd=self.folder, env=self.env, text=True, **{**streams, **popen})
        )
        return self._started[-1]

    def close(self) -> None:
        """End what a failed test left running, so that it is the only one to fail."""
        for process in self._started:
            process.kill()
            process.wait()
            for stream in (process.stdin, process.stdout, process.stderr):
                if stream:
                    stream.close()

    def call(self, *args: object, expect: int | None = 0, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        process = self.start(*args, stdin=subprocess.PIPE if stdin is not None else subprocess.DEVNULL)
        out, err = process.communicate(stdin, timeout=120)
        if expect is not None:
            assert process.returncode == expect, f"exit {process.returncode}\n{out}\n{err}"
        assert "Traceback" not in err
        return subprocess.CompletedProcess([str(a) for a in args], process.returncode, out, err)

    def run(self, *args: object, url: str | None = None, expect: int | None = 0, **options: Any) -> dict[str, Any]:
        """`llmbatch run label ARGS`; returns report.json."""
        where = ("--base-url", url) if url else ()
        self.call("run", "label", *where, "--quiet", *args, expect=expect, **options)
        report: dict[str, Any] = orjson.loads((self.folder / "results/label/report.json").read_bytes())
        rows = report["rows"]
        assert rows["total"] == sum(rows[name] for name in ("done", "reused", "failed", "skipped", "pending"))
        return report

    def results(self) -> list[dict[str, Any]]:
        lines = (self.folder / "results/label/results.jsonl").read_bytes().splitlines()
        return [orjson.loads(line) for line in lines]


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    shell = Shell(tmp_path)
    yield shell
    shell.close()


def tickets(count: int, first: int = 0) -> list[dict[str, Any]]:
    return [
        {"id": f"r{n}", "text": f"Ticket number {n}: the invoice of month {n} is wrong."}
        for n in range(first, first + count)
    ]
