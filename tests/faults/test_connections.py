"""Connections: more than the process may have open, and such as the server drops when nobody looks."""

import asyncio
import resource
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import orjson
import pytest

from llmbatch.simulator import Latency, Scenario, Server
from tests.cli.conftest import Serve, Shell, shell, tickets
from tests.security.parrot import completion

__all__ = ["shell"]


def limited(shell: Shell, soft: int, hard: int, *args: str) -> subprocess.CompletedProcess[str]:
    code = f"import resource, sys; resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard}))"
    code += "; from llmbatch.cli import main; raise SystemExit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, "run", "label", "-i", "in.jsonl", "--quiet", *args]
    return subprocess.run(command, cwd=shell.folder, env=shell.env, capture_output=True, text=True, check=False)


def test_few_open_files_are_made_enough_or_said(shell: Shell, serve: Serve) -> None:
    server = serve(Scenario(server=Server(brain="echo"), latency=Latency(median_ms=300)))
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    shell.write("in.jsonl", tickets(200))
    where = ("--base-url", server.base_url, "--concurrency", "200")
    done = limited(shell, 80, 100, *where)
    assert done.returncode == 2
    assert "concurrency 200 needs 264 open files, and this process may have 100" in done.stderr
    assert "--concurrency 36" in done.stderr
    assert server.account.total.requests == 0
    done = limited(shell, 80, hard, *where)
    assert done.returncode == 0, done.stderr
    assert server.account.peak_in_flight > 80
    assert server.account.total.requests == 200


@contextmanager
def fickle() -> Iterator[tuple[str, list[int]]]:
    """A server that promises to keep each connection, and drops it soon after its first answer."""
    opened: list[int] = []
    ready: list[tuple[asyncio.AbstractEventLoop, asyncio.Event, int]] = []
    begun = threading.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        opened.append(1)
        body = orjson.dumps(completion('{"summary": "fine"}'))
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        await reader.readexactly(length)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: keep-alive\r\n")
        writer.write(b"content-length: %d\r\n\r\n%b" % (len(body), body))
        await writer.drain()
        await asyncio.sleep(len(opened) % 5 / 1000)
        writer.transport.abort()

    async def main() -> None:
        ended = asyncio.Event()
        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            ready.append((asyncio.get_running_loop(), ended, server.sockets[0].getsockname()[1]))
            begun.set()
            await ended.wait()

    thread = threading.Thread(target=asyncio.run, args=(main(),))
    thread.start()
    begun.wait()
    loop, ended, port = ready[0]
    try:
        yield f"http://127.0.0.1:{port}/v1", opened
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join()


@pytest.mark.short
def test_connections_dropped_between_two_calls_fail_no_row(shell: Shell) -> None:
    """The server closes while the next request is on its way: a lost call is made again, and was not served."""
    shell.write("in.jsonl", tickets(60))
    with fickle() as (url, opened):
        report = shell.run("-i", "in.jsonl", "--concurrency", "8", url=url)
    assert report["rows"]["done"] == 60
    assert report["attempts"]["transient"] > 0
    assert len(opened) == 60
