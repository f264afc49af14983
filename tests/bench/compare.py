"""How often `llmbatch compare` names the right model, and how often it certifies one that is not good enough.

The decision, which is a pure function, is tried thousands of times; the whole command a few times, each against a
simulator that plays a small, a middle and a large model with set error rates, over HTTP.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import orjson

from llmbatch.grade.stats import clopper_pearson
from llmbatch.simulator import Latency, Model, Scenario, Server
from tests.candidates.worlds import NONE_FIT, THREE, Truth, below, named, partly, right, trial
from tests.cli.conftest import Shell, serving
from tests.cli.test_compare import GRADED, PRICES

TARGET = 0.9


def share(name: str, hits: int, of: int, target: str, met: bool | None) -> bool:
    """Print one line; whether its target is met (None: no target)."""
    interval = clopper_pearson(hits, of)
    span = f"{hits / of:7.2%}  ({interval.low:.2%} to {interval.high:.2%})"
    print(
        f"{name:<66}{hits:>6} of {of:<6}{span:<32}{target:>8} {'' if met is None else 'pass' if met else 'FAIL'}",
        flush=True,
    )
    return met is not False


def decisions(
    name: str, world: Mapping[str, Truth], best: str | None, trials: int, rows: int, *, whole: bool = True
) -> bool:
    """Try the decision; ``best`` is the right answer, None where no candidate is good enough."""
    found = [trial(world, TARGET, rows, seed, two_valued=whole) for seed in range(trials)]
    hits = sum(named(world, certified) == best for certified in found)
    false = sum(below(world, certified, TARGET) for certified in found)
    held = best == "middle" and rows == 300
    fine = best is None or share(
        f"{name}: right one named", hits, trials, ">= 95 %" if held else "", hits >= 0.95 * trials if held else None
    )
    return share(f"{name}: one below target certified", false, trials, "<= 5 %", false <= 0.05 * trials) and fine


def over_http(trials: int, errors: Mapping[str, float]) -> tuple[int, int]:
    """The whole command on so many seeds: how often it names middle, and how often it certifies small."""
    right_ones = wrong = 0
    for seed in range(trials):
        models = {name: Model(error_rate=rate) for name, rate in errors.items()}
        scenario = Scenario(seed=seed, server=Server(brain="echo"), latency=Latency(), model=models)
        with serving(scenario) as server, tempfile.TemporaryDirectory() as folder:
            shell = Shell(Path(folder))
            toml = shell.pipeline / "pipeline.toml"
            toml.write_text(toml.read_text() + GRADED + PRICES)
            shell.write("in.jsonl", [{"id": f"r{n}", "text": f"Ticket {n}", "gold": "simulated"} for n in range(900)])
            command = ("compare", "label", "-i", "in.jsonl", "--models", ",".join(errors), "--min-quality", TARGET)
            done = shell.call(*command, "--base-url", server.base_url, "--seed", seed, "--json", "--quiet", expect=None)
            found = orjson.loads(done.stdout)
            right_ones += found["named"] == "middle"
            wrong += any(one["name"] == "small" and one["lower"] >= TARGET for one in found["certificates"])
    return right_ones, wrong


def main() -> int:
    """Measure, print, and exit 1 when a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=2_000, help="of the decision; bets are tried a tenth as often")
    parser.add_argument("--over-http", type=int, default=10, help="of the whole command")
    asked = parser.parse_args()
    began, trials = time.monotonic(), asked.trials
    close = {"small": right(0.88, 0.1), "middle": right(0.97, 0.5), "large": right(0.995, 5.0)}
    graded = {"small": partly(0.85, 0.1), "middle": partly(0.95, 0.5)}
    unfit = {"small": partly(0.895, 0.1), "middle": partly(0.899, 0.5)}
    fine = decisions("88 %, 98 %, 99.5 % right, 300 rows, target 90 %", THREE, "middle", trials, 300)
    fine &= decisions("88 %, 97 %, 99.5 % right, 300 rows, target 90 %", close, "middle", trials, 300)
    fine &= decisions("88 %, 97 %, 99.5 % right, 600 rows, target 90 %", close, "middle", trials, 600)
    fine &= decisions("three of 89.9 % right, 300 rows, target 90 %", NONE_FIT, None, trials, 300)
    fine &= decisions("ten of 89.9 % right, 300 rows, target 90 %", _many(10), None, trials, 300)
    fine &= decisions("scores 0, 1/2, 1; means 85 %, 95 %; 600 rows", graded, "middle", trials // 10, 600, whole=False)
    fine &= decisions("scores 0, 1/2, 1; means 89.5 %, 89.9 %; 600 rows", unfit, None, trials // 10, 600, whole=False)
    hits, false = over_http(asked.over_http, {"small": 0.12, "middle": 0.02, "large": 0.005})
    share("the command over HTTP: right one named", hits, asked.over_http, "", None)
    share("the command over HTTP: one below target certified", false, asked.over_http, "", None)
    print(f"{time.monotonic() - began:.0f} s")
    return 0 if fine else 1


def _many(number: int) -> dict[str, Truth]:
    return {f"m{n}": right(0.899, 1.0 + n) for n in range(number)}


if __name__ == "__main__":
    sys.exit(main())
