"""Judges of known quality: a model that says right or wrong of an answer, with a set share of mistakes."""

from __future__ import annotations

import re

from llmbatch.simulator.asked import Asked
from llmbatch.simulator.plan import draw
from llmbatch.simulator.scenario import Judging
from llmbatch.types import Json

_FIRST, _SECOND, _PREFERS = -3, -4, -5  #: in place of a fault's number
_BEST, _WORST = 5, 1


def opinion(answer: dict[str, Json], asked: Asked, told: Judging, seed: int) -> dict[str, Json]:
    """The answer with the judge's verdict in it: ``verdict``, ``score`` or ``better``, as far as it has them.

    What is true is found in the user message by the scenario's patterns. Whether the judge is mistaken is drawn by the
    message, so the same question gets the same answer, and the two orders of a pair are two questions.
    """
    who = f"{asked.model}:{asked.user_hash}"

    def seen(pattern: str, number: int) -> bool:
        """How an answer looks to the judge."""
        right = re.search(pattern, asked.user_text) is not None
        mistaken = draw(seed, number, who, 0) >= (told.sensitivity if right else told.specificity)
        return right != mistaken

    first = seen(told.right, _FIRST)
    second = told.second is not None and seen(told.second, _SECOND)
    better = "tie" if first == second else "first" if first else "second"
    if draw(seed, _PREFERS, who, 0) < told.prefers_first:
        better = "first"
    said = {"verdict": "right" if first else "wrong", "score": _BEST if first else _WORST, "better": better}
    return {name: said.get(name, value) for name, value in answer.items()}
