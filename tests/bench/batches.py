"""Many rows through provider batches: memory, speed, and whether the queue of tokens is kept to::

    python -m tests.bench.batches [ROWS]

Runs a tenth of the rows, three tenths and all of them, each as a process of its own against a simulator whose batches
end within a second, with several files in flight and a limit on enqueued tokens. Prints the peak memory of each and
their ratios, CPU per row, and what the server's account says.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import orjson

TOML = """\
[request]
model = "m-1"
params = { max_completion_tokens = 60 }
[input]
id = "id"
[provider]
like = "openai"
[limits]
tier = "batch"
max_failed = "0%"
[batch]
requests = 10000
enqueued_tokens = 16000000
poll_s = 0.2
[prices.m-1]
input = 1.0
output = 10.0
batch = 0.5
"""
SCHEMA = '{"type": "object", "properties": {"summary": {"type": "string"}}, "required": ["summary"]}'
SERVER = """
import sys
from llmbatch.simulator import Batches, Clock, Scenario, Server, run
scenario = Scenario(
    server=Server(brain="echo"), clock=Clock(speed=100), batches=Batches(median_s=60, enqueued_tokens=16_000_000)
)
run(scenario, detail=False, on_ready=lambda url: print(url, flush=True))
"""


@dataclass(frozen=True, slots=True)
class Ran:
    """What one run took."""

    rows: int
    peak_mb: float
    cpu_s: float
    wall_s: float
    account: dict[str, Any]
    report: dict[str, Any]


def ran(folder: Path, rows: int) -> Ran:
    """Run so many rows against a server of their own."""
    folder.mkdir()
    pipeline = folder / "label"
    pipeline.mkdir()
    (pipeline / "pipeline.toml").write_text(TOML)
    (pipeline / "prompt.j2").write_text("Summarise: {{ text }}")
    (pipeline / "schema.json").write_text(SCHEMA)
    with (folder / "in.jsonl").open("wb") as file:
        for n in range(rows):
            text = f"Ticket {n}: the invoice of month {n % 12} is wrong. " * 8
            file.write(orjson.dumps({"id": f"r{n}", "text": text}) + b"\n")
    server = subprocess.Popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    url = server.stdout.readline().strip()
    try:
        began = time.monotonic()
        line = ["run", "label", "--input", "in.jsonl", "--base-url", url, "--quiet"]
        process = subprocess.Popen([sys.executable, "-m", "llmbatch", *line], cwd=folder)
        _, status, used = os.wait4(process.pid, 0)
        assert status == 0, status
        account = orjson.loads(urlopen(url.removesuffix("/v1") + "/account").read())
        report = orjson.loads((folder / "results/label/report.json").read_bytes())
    finally:
        server.terminate()
        server.wait()
    cpu = used.ru_utime + used.ru_stime
    return Ran(rows, used.ru_maxrss / 1024, cpu, time.monotonic() - began, account, report)


def main() -> None:
    """Run and print."""
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 200_000
    with tempfile.TemporaryDirectory() as folder:
        sizes = [ran(Path(folder) / str(n), n) for n in (rows // 10, rows * 3 // 10, rows)]
    for one in sizes:
        total = one.account["total"]
        print(
            f"{one.rows:>8,} rows: peak {one.peak_mb:,.0f} MB, {one.cpu_s / one.rows * 1e3:.2f} ms of CPU a row, "
            f"{one.wall_s:,.0f} s; paid {total['paid']:,}, done {one.report['rows']['done']:,}, "
            f"notes {one.report['notes']}"
        )
    for less, more in pairwise(sizes):
        print(f"memory of {more.rows:,} rows over that of {less.rows:,}: {more.peak_mb / less.peak_mb:.2f}")


if __name__ == "__main__":
    main()
