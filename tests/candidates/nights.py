"""Whole comparisons: the command as a person types it, a real ledger, and models of known quality behind real HTTP."""

import io
import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import orjson

from llmbatch.cli.app import main
from llmbatch.errors import Exit
from llmbatch.simulator import Model, Scenario, Server
from tests.candidates.worlds import Truth, below, named
from tests.cli.conftest import Shell, serving

ROWS = 900  #: of the input
SAMPLE = 300
GRADER = '\n[quality.graders.right]\nkind = "exact"\nfield = "summary"\ngold = "gold"\n'


@dataclass(frozen=True)
class Trial:
    """What one comparison said."""

    seed: int
    named: str | None
    certified: tuple[str, ...]
    wrong: bool  #: one that is below the target was certified
    cpu_s: float


def trial(seed: int, world: Mapping[str, Truth], target: float, sample: int = SAMPLE) -> Trial:
    """Compare once: other mistakes of the models and other rows for every seed.

    A model's quality is the rate with which the simulator lets it be right; its price is that of the world.
    """
    began = time.process_time()
    models = {name: Model(error_rate=1 - truth.quality) for name, truth in world.items()}
    with serving(Scenario(seed=seed, server=Server(brain="echo"), model=models)) as server, _folder() as folder:
        shell = Shell(folder)
        toml = shell.pipeline / "pipeline.toml"
        prices = "".join(f"\n[prices.{n}]\ninput = {t.price}\noutput = {t.price}\n" for n, t in world.items())
        toml.write_text(toml.read_text().replace("timeout_s = 5", "timeout_s = 60") + GRADER + prices)
        shell.write("in.jsonl", [{"id": f"r{n}", "text": f"Ticket {n}", "gold": "simulated"} for n in range(ROWS)])
        wanted = ("--models", ",".join(world), "--min-quality", target, "--sample", sample, "--seed", seed)
        command = ("compare", "label", "-i", "in.jsonl", *wanted, "--base-url", server.base_url, "--json", "--quiet")
        with redirect_stdout(io.StringIO()) as out:
            code = main(list(map(str, command)))
        assert code in (Exit.OK, Exit.QUALITY), code
        calls = {name: sums.requests for name, sums in server.account.by_model.items()}
    assert calls == dict.fromkeys(world, sample), calls
    found = orjson.loads(out.getvalue())
    certified = [one["name"] for one in found["certificates"] if one["lower"] >= target]
    assert found["named"] == named(world, certified)
    wrong = below(world, certified, target)
    return Trial(seed, found["named"], tuple(certified), wrong, time.process_time() - began)


@contextmanager
def _folder() -> Iterator[Path]:
    """A folder of its own to work in, without the keys of whoever runs it."""
    here = Path.cwd()
    for name in [name for name in os.environ if name.startswith(("OPENAI_", "AZURE_"))]:
        del os.environ[name]
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            yield Path(folder)
        finally:
            os.chdir(here)


def trials(number: int, world: Mapping[str, Truth], target: float, jobs: int = 2) -> Iterator[Trial]:
    """So many comparisons, in processes of their own."""
    plain = {name: Truth(truth.quality, truth.price, _nothing) for name, truth in world.items()}
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        yield from pool.map(partial(trial, world=plain, target=target), range(number))


def _nothing(_: object) -> float:
    """In the place of a score that no process could take along."""
    return 0.0
