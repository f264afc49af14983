"""How often the comparison of nights cries wolf, and how often it sees a fall: by simulation of the shipped code.

A night has 2,000 newly answered rows. Each row's reply goes through ``Gathered.judged`` and ``Gathered.take``, each
night through ``compare`` with the fourteen before it, as in a run: a grader or two, failures by class, a list of tags,
lengths, tokens, latency, language.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from llmbatch.grade.choose import graders
from llmbatch.grade.compare import Drift, Past, compare
from llmbatch.grade.gather import Gathered, Rates, closed_lists
from llmbatch.grade.profile import Signature
from llmbatch.grade.stats import clopper_pearson
from llmbatch.settings import GraderSettings, QualitySettings
from llmbatch.types import Reply, Usage, Verdict

TAGS = ("billing", "bug", "how_to", "outage", "refund", "security", "shipping", "other")
SCHEMA = {"properties": {"tags": {"type": "array", "items": {"enum": list(TAGS)}}, "right": {"type": "boolean"}}}
ONE = QualitySettings(graders={"right": GraderSettings(kind="exact", field="right", gold="gold")})
TWO = QualitySettings(graders={**ONE.graders, "length": GraderSettings(kind="length", field="text", most=60)})
TRAILING = ONE.trailing
_LANGUAGES = ("the bill is wrong and we want it back", "die Rechnung ist falsch und wir wollen das nicht")


@dataclass(frozen=True, slots=True)
class World:
    """What is true of a night."""

    right: float = 0.9  #: share of valid outputs that agree with gold
    invalid: float = 0.02  #: first replies that are invalid
    wobble: float = 0.0  #: standard deviation of ``right`` from night to night
    rows: int = 2_000
    settings: QualitySettings = ONE


def night(world: World, number: int, rng: random.Random) -> Past:
    """One night, row by row."""
    gathered = Gathered(graders(world.settings.graders, None), world.settings, closed_lists(SCHEMA))
    right = min(1.0, max(0.0, rng.gauss(world.right, world.wobble))) if world.wobble else world.right
    rates = Rates.of(world.rows, world.rows, world.settings.rows)
    for _ in range(world.rows):
        verdict = _verdict(world, right, rng)
        gathered.judged(_reply(rng), verdict)
        row = {"text": _LANGUAGES[rng.random() < 0.2] * rng.randint(1, 8), "gold": True}
        output = verdict.output or (_output(right, rng) if rng.random() < 0.8 else None)  # most re-asks mend
        gathered.take(row, output, rng.random(), asked=True, rates=rates)
    return Past(f"night-{number}", gathered.profile(), Signature("v1", "m-1", "simulated"))


def _output(right: float, rng: random.Random) -> dict[str, Any]:
    tags = rng.choices(TAGS, (30, 20, 15, 10, 10, 5, 5, 5), k=rng.choice((1, 1, 2)))
    return {"tags": tags, "right": rng.random() < right, "text": "x" * int(rng.lognormvariate(3.8, 0.4))}


def _verdict(world: World, right: float, rng: random.Random) -> Verdict:
    if rng.random() < world.invalid:
        return Verdict(None, rng.choice(("schema", "not_json", "refusal", "truncated", "check")), ("wrong",))
    return Verdict(_output(right, rng), repaired=rng.random() < 0.01)


def _reply(rng: random.Random) -> Reply:
    usage = Usage(int(rng.lognormvariate(6, 0.5)), int(rng.lognormvariate(3, 0.4)))
    return Reply(
        "{}", "{}", "stop", None, usage, "m-1", "default", "fp_1", latency_s=rng.lognormvariate(0, 0.6), number=1
    )


def comparisons(world: World, fallen: World | None, seed: int) -> Iterator[Drift]:
    """Nights that follow each other, each held against the fourteen before; or ``fallen`` ones in their place."""
    rng, past = random.Random(seed), [night(world, n, random.Random(f"{seed}/{n}")) for n in range(TRAILING)]
    for number in range(TRAILING, sys.maxsize):
        tonight = night(fallen or world, number, rng)
        yield compare(tonight, past[::-1], trailing=TRAILING, min_change=world.settings.min_change)
        past = [*past[1:], tonight if fallen is None else night(world, number, rng)]


def measure(name: str, drifts: list[Drift], hit: Any, target: str, met: Any) -> bool:
    """Print one line; whether its target is met (None: no target)."""
    hits = sum(map(hit, drifts))
    interval = clopper_pearson(hits, len(drifts))
    fine = met(hits / len(drifts)) if met else None
    verdict = {True: "pass", False: "FAIL", None: ""}[fine]
    share = f"{hits / len(drifts):7.2%}  ({interval.low:.2%} to {interval.high:.2%})"
    print(f"{name:<58}{hits:>6} of {len(drifts):<6}{share:<30}{target:>9} {verdict}", flush=True)
    return fine is not False


def any_move(drift: Drift) -> bool:
    """Anything at all moved."""
    return bool(drift.moves)


def fell(drift: Drift) -> bool:
    """The fall was seen as what it was."""
    return any(move.what == "grader right" and move.worse for move in drift.moves)


def main() -> int:
    """Measure, print, and exit 1 when a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nights", type=int, default=1_000, help="under no change; the others take a fifth")
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    began, few = time.monotonic(), asked.nights // 5

    def some(world: World, fallen: World | None, number: int) -> list[Drift]:
        return list(islice(comparisons(world, fallen, asked.seed), number))

    fine = measure(
        "no change: anything moved", some(World(), None, asked.nights), any_move, "<= 1 %", lambda p: p <= 0.01
    )
    wobbling = some(World(wobble=0.01), None, few)
    measure("nights differ by themselves, sd 1 point: anything moved", wobbling, any_move, "", None)
    for share, settings, held in (
        (0.97, ONE, True),
        (0.95, ONE, True),
        (0.9, ONE, True),
        (0.9, TWO, False),
        (0.8, ONE, False),
    ):
        world = World(right=share, settings=settings)
        name = f"{share:.0%} right falls by 3 points, {len(settings.graders)} grader{'s' * (settings is TWO)}: seen"
        drifts = some(world, replace(world, right=share - 0.03), few)
        fine &= measure(name, drifts, fell, ">= 90 %" if held else "", (lambda p: p >= 0.9) if held else None)
    print(f"{time.monotonic() - began:.0f} s")
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
