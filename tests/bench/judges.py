"""How often the interval behind a judge of known error holds the truth, with and without human labels.

The figures come from ``judged``, which `llmbatch grade` calls, on rows of known truth; and a few from the whole command
over HTTP, with the simulator as answerer and as judge. The truth is the share of right answers among all of the run.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import orjson

from llmbatch.grade import Asked, Graded, Opinion, judged
from llmbatch.simulator import Judging, Latency, Model, Scenario, Server
from tests.bench.compare import share
from tests.cli.conftest import Shell, serving

ROWS = 2_000
JUDGE = """
[quality.judge]
model = "judge-1"
params = { max_completion_tokens = 100 }

[quality.graders.fine]
kind = "judge"
rubric = "rubric.md"
"""
RUBRIC = "Ticket: {{ row.text }}\nANSWER: {{ output.summary }}\n"


@dataclass(frozen=True, slots=True)
class World:
    """What is true, and who judges."""

    right: float = 0.8  #: share of answers
    sensitivity: float = 0.9
    specificity: float = 0.7
    labels: int = 60
    sample: int = 300
    unjudged: float = 0.02  #: answers without a valid opinion
    failed: float = 0.03  #: rows without an answer


def trial(world: World, rng: random.Random) -> tuple[float, Graded]:
    """The truth about a run, and what is made of it."""
    answered = sum(rng.random() >= world.failed for _ in range(ROWS))
    truth = [rng.random() < world.right for _ in range(answered)]
    drawn = set(rng.sample(range(answered), world.sample))
    labelled = set(rng.sample(range(answered), world.labels))
    opinions = [
        _opinion(world, truth[row], rng, labelled=row in labelled, drawn=row in drawn) for row in drawn | labelled
    ]
    asked = Asked("fine", "judge-1", "verdict", answered, ROWS - answered, 0)
    return sum(truth) / ROWS, judged(asked, opinions)


def _opinion(world: World, truth: bool, rng: random.Random, *, labelled: bool, drawn: bool) -> Opinion:
    says = rng.random() < (world.sensitivity if truth else 1 - world.specificity)
    human = float(truth) if labelled else None
    if rng.random() < world.unjudged:
        return Opinion(None, "refusal", human=human, drawn=drawn)
    return Opinion(float(says), human=human, drawn=drawn)


def covers(truth: float, found: Graded) -> bool:
    """Whether the interval holds the truth."""
    return found.interval.low <= truth <= found.interval.high


def over_http(trials: int, world: World) -> Iterator[tuple[float, Graded, float]]:
    """The whole command, each time with another seed and other labels: truth, figures, and the judge's own mean."""
    told = Judging(right="ANSWER: simulated$", sensitivity=world.sensitivity, specificity=world.specificity)
    models = {"m-1": Model(error_rate=1 - world.right), "judge-1": Model(judge=told)}
    scenario = Scenario(seed=7, server=Server(brain="echo"), latency=Latency(), model=models)
    with serving(scenario) as server, tempfile.TemporaryDirectory() as folder:
        shell = Shell(Path(folder))
        toml = shell.pipeline / "pipeline.toml"
        toml.write_text(toml.read_text() + JUDGE)
        (shell.pipeline / "rubric.md").write_text(RUBRIC)
        shell.write("in.jsonl", [{"id": f"r{n}", "text": f"Ticket {n}"} for n in range(ROWS)])
        shell.run("-i", "in.jsonl", url=server.base_url)
        right = {row["id"]: row["summary"] == "simulated" for row in shell.results()}
        for seed in range(trials):
            named = random.Random(seed).sample(sorted(right), world.labels)
            shell.write("labels.jsonl", [{"id": name, "fine": right[name]} for name in named])
            yield sum(right.values()) / ROWS, *_graded(shell, server.base_url, seed)


def _graded(shell: Shell, url: str, seed: int) -> tuple[Graded, float]:
    from pydantic import TypeAdapter

    where = ("--set", f"provider.base_url={url}", "--labels", "labels.jsonl", "--seed", seed)
    done = shell.call("grade", "label", "--ask", "--quiet", "--json", *where)
    found = TypeAdapter(Graded).validate_python(orjson.loads(done.stdout)["graders"][0])
    assert found.judged is not None
    assert found.judged.alone is not None
    return found, found.judged.alone


def main() -> int:
    """Measure, print, and exit 1 when a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=2_000)
    parser.add_argument("--over-http", type=int, default=40)
    asked = parser.parse_args()
    began, fine = time.monotonic(), True
    for name, world in (
        ("80 % right; judge 90 % / 70 %; 60 labels", World()),
        ("80 % right; judge 90 % / 70 %; 200 labels", World(labels=200)),
        ("80 % right; judge 90 % / 70 %; 30 labels", World(labels=30)),
        ("95 % right; judge 97 % / 60 %; 60 labels", World(right=0.95, sensitivity=0.97, specificity=0.6)),
        ("50 % right; judge 99 % / 99 %; 60 labels", World(right=0.5, sensitivity=0.99, specificity=0.99)),
        ("80 % right; judge 60 % / 40 %, a coin; 60 labels", World(sensitivity=0.6, specificity=0.4)),
        ("80 % right; judge 90 % / 70 %; no labels", World(labels=0)),
    ):
        rng = random.Random(name)
        found = [trial(world, rng) for _ in range(asked.trials)]
        hits = sum(covers(*one) for one in found)
        width = sum(graded.interval.half_width for _, graded in found) / len(found)
        held = world.labels > 0
        target = ">= 94 %" if held else ""
        fine &= share(f"{name}, +- {100 * width:.1f}: covers", hits, len(found), target,
                      hits >= 0.94 * len(found) if held else None)  # fmt: skip
    whole = list(over_http(asked.over_http, World()))
    hits = sum(covers(truth, found) for truth, found, _ in whole)
    share("the command over HTTP; judge 90 % / 70 %; 60 labels: covers", hits, len(whole), "", None)
    off = sum(alone - truth for truth, _, alone in whole) / len(whole)
    print(f"the judge alone was off by {100 * off:+.1f} points on average; {time.monotonic() - began:.0f} s")
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
