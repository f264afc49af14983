"""llmbatch called as from a shell, but inside of the test's process: a run takes 0.1 s in place of 1."""

import contextlib
import io
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import polars as pl
import pytest

from llmbatch.cli.app import main
from llmbatch.simulator import Scenario, Server, Simulator
from tests.cli.conftest import Shell, serve, serving

__all__ = ["Desk", "serve"]


class Desk(Shell):
    """A Shell whose calls stay in this process. An exception that main() lets through fails the test."""

    def call(self, *args: object, expect: int | None = 0, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        assert stdin is None
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main([str(arg) for arg in args])
        if expect is not None:
            assert code == expect, f"exit {code}\n{out.getvalue()}\n{err.getvalue()}"
        return subprocess.CompletedProcess([*map(str, args)], code, out.getvalue(), err.getvalue())

    def put(self, data: bytes, name: str = "in.jsonl") -> str:
        (self.folder / name).write_bytes(data)
        return name

    def night(self, name: str, *args: object, expect: int = 0) -> list[dict[str, Any]]:
        """Run over a file with the offline provider; its results."""
        self.run("-i", name, "--provider", "offline", *args, expect=expect)
        return self.results()

    def frame(self) -> pl.DataFrame:
        return pl.read_parquet(self.folder / "results/label/results.parquet", glob=False)

    def price(self, input: str, output: str) -> None:
        """Dollars per million tokens of the model."""
        with (self.pipeline / "pipeline.toml").open("a") as file:
            file.write(f"[prices.m-1]\ninput = {input}\noutput = {output}\n")

    def report(self) -> dict[str, Any]:
        report: dict[str, Any] = orjson.loads((self.folder / "results/label/report.json").read_bytes())
        return report


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    for name in os.environ:
        if name.startswith(("OPENAI_", "AZURE_")):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    mask, interval = os.umask(0o022), sys.getswitchinterval()
    os.umask(mask)
    yield Desk(tmp_path)
    os.umask(mask)
    sys.setswitchinterval(interval)


@pytest.fixture(scope="module")
def echo() -> Iterator[Simulator]:
    """A server that answers at once, for all tests of a module."""
    with serving(Scenario(server=Server(brain="echo"))) as server:
        yield server


def lines(*rows: Any) -> bytes:
    return b"".join(orjson.dumps(row) + b"\n" for row in rows)
