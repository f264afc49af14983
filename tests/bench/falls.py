"""How often a fall of 3 points is seen in nights drawn as counts, each held against fourteen of its own.

``python -m tests.bench.falls 0.9`` takes half a minute. The nights of tests.bench.quality, which takes minutes, are
drawn from rows that went through the code of a run.
"""

import argparse
import random

from llmbatch.grade.drift import moves
from llmbatch.grade.stats import clopper_pearson
from tests.grade.test_drift import night

FALLS = {"grader tags", "grader tags over two nights"}


def main() -> None:
    """Print one line for each question about a share."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("right", type=float)
    parser.add_argument("--trials", type=int, default=300)
    asked = parser.parse_args()
    rng, first, either, quiet = random.Random(asked.right), 0, 0, 0

    def seen(tonight: object, before: list[object]) -> set[str]:
        return {move.what for move in moves(tonight, before[:14], min_change=0.01)}  # type: ignore[arg-type]

    for _ in range(asked.trials):
        before = [night(rng.getrandbits(60), right=asked.right) for _ in range(14)]
        one, two = (night(rng.getrandbits(60), right=asked.right - 0.03) for _ in range(2))
        alone = bool(FALLS & seen(one, [*before]))
        first += alone
        either += alone or bool(FALLS & seen(two, [one, *before]))
        quiet += bool(seen(night(rng.getrandbits(60), right=asked.right), [*before]))
    for name, hits in (("fall seen", first), ("seen within two nights", either), ("no change, anything moved", quiet)):
        found = clopper_pearson(hits, asked.trials)
        print(f"{asked.right:.0%}: {name:<28}{hits:>5} of {asked.trials}  {found.low:.1%} to {found.high:.1%}")


if __name__ == "__main__":
    main()
