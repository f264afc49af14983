"""CPU per row: the whole of llmbatch beside a plain loop over the SDK, and beside bare aiohttp.

    python -m tests.bench.cpu [--rows 4000] [--in-flight 256]

Same server (a process of its own, on another core where there is one), same rows, one run after the other. llmbatch
does everything it does on a night: reads, checks, renders, hashes, records durably, limits, judges, writes results
and reports. The loops do nothing but ask. CPU is user and system time of the whole client process, start included.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path

import orjson

SERVER = '[latency]\nmedian_ms = 50\n[server]\nbrain = "echo"\n'
PORT = 8_911
WORDS = "the invoice order customer login page error refund delayed shipment broken account please help".split()  # noqa: SIM905

SDK_LOOP = """
    import asyncio, sys, orjson
    from openai import AsyncOpenAI

    async def main(path, url, in_flight):
        client = AsyncOpenAI(base_url=url, api_key="no-key")
        gate = asyncio.Semaphore(in_flight)
        async def ask(line):
            async with gate:
                await client.chat.completions.create(
                    model="m-1", messages=[{"role": "user", "content": orjson.loads(line)["text"]}])
        with open(path, "rb") as file:
            await asyncio.gather(*(ask(line) for line in file))

    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
"""
AIOHTTP_LOOP = """
    import asyncio, sys, aiohttp, orjson

    async def main(path, url, in_flight):
        gate = asyncio.Semaphore(in_flight)
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
            async def ask(line):
                async with gate:
                    body = {"model": "m-1", "messages": [{"role": "user", "content": orjson.loads(line)["text"]}]}
                    async with session.post(url + "/chat/completions", data=orjson.dumps(body)) as response:
                        orjson.loads(await response.read())
            with open(path, "rb") as file:
                await asyncio.gather(*(ask(line) for line in file))

    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
"""


def rows(path: Path, count: int) -> None:
    """Write rows of about 1 KB."""
    with path.open("wb") as file:
        for n in range(count):
            words = " ".join(WORDS[(n * 7 + i * 3) % len(WORDS)] for i in range(150))
            file.write(orjson.dumps({"text": f"Ticket number {n}: {words}"}) + b"\n")


def cpu_of(command: list[str], folder: Path) -> tuple[float, float]:
    """(CPU seconds, wall seconds) of a process."""
    began = time.perf_counter()
    process = subprocess.Popen(pinned(command, 0), cwd=folder, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{command[:4]} ended with {process.returncode}")
    return usage.ru_utime + usage.ru_stime, time.perf_counter() - began


def pinned(command: list[str], core: int) -> list[str]:
    """The command on a core of its own, where there are two."""
    return ["taskset", "-c", str(core), *command] if (os.cpu_count() or 1) > 1 else command


def measure(folder: Path, count: int, in_flight: int) -> dict[str, tuple[float, float]]:
    """CPU and wall seconds by contender."""
    url = f"http://127.0.0.1:{PORT}/v1"
    rows(folder / "in.jsonl", count)
    llmbatch = [sys.executable, "-m", "llmbatch"]
    subprocess.run([*llmbatch, "init", "p"], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    (folder / "p/hooks.py").unlink()
    (folder / "p/schema.json").write_text('{"type": "object"}')
    run = [*llmbatch, "run", "p", "-i", "in.jsonl", "--base-url", url, "--concurrency", str(in_flight), "--quiet"]
    loop = [str(folder / "in.jsonl"), url, str(in_flight)]
    contenders = {
        "plain AsyncOpenAI loop": [sys.executable, "-c", textwrap.dedent(SDK_LOOP), *loop],
        "bare aiohttp loop": [sys.executable, "-c", textwrap.dedent(AIOHTTP_LOOP), *loop],
        "llmbatch, everything on": run,
    }
    return {name: cpu_of(command, folder) for name, command in contenders.items()}


async def _answers(port: int) -> None:
    for _ in range(100):
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.1)
        else:
            writer.close()
            return
    raise SystemExit("the simulator does not answer")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=4_000)
    parser.add_argument("--in-flight", type=int, default=256)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "server.toml").write_text(SERVER)
        command = [sys.executable, "-m", "llmbatch", "simulate", "--scenario", "server.toml", "--port", str(PORT)]
        server = subprocess.Popen(pinned(command, 1), cwd=folder, stdout=subprocess.DEVNULL)
        try:
            asyncio.run(_answers(PORT))
            figures = measure(folder, args.rows, args.in_flight)
        finally:
            server.terminate()
            server.wait()
    plain = figures["plain AsyncOpenAI loop"][0]
    print(f"{args.rows:,} rows, {args.in_flight} in flight, 50 ms server; load {os.getloadavg()[0]:.1f}")
    print(f"{'':26}{'CPU ms/row':>12}{'rows/s':>10}{'of the plain loop':>20}")
    for contender, (cpu, wall) in figures.items():
        print(f"{contender:26}{cpu / args.rows * 1e3:12.3f}{args.rows / wall:10,.0f}{cpu / plain:20.2f}")


if __name__ == "__main__":
    main()
