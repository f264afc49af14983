"""Models of known quality and price, and what a comparison of them says."""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from llmbatch.candidates import Bid, Certificate, cheapest

Score = Callable[[random.Random], float]


@dataclass(frozen=True)
class Truth:
    """What is true of a model."""

    quality: float  #: mean of what ``score`` draws
    price: float
    score: Score


def right(quality: float, price: float) -> Truth:
    """A model whose answers are right or wrong."""
    return Truth(quality, price, lambda rng: float(rng.random() < quality))


def partly(quality: float, price: float) -> Truth:
    """A model whose answers are right, half right (one in ten) or wrong."""
    return Truth(quality, price, lambda rng: rng.choices((1.0, 0.5, 0.0), (quality - 0.05, 0.1, 0.95 - quality))[0])


def trial(world: Mapping[str, Truth], target: float, rows: int, seed: int, *, two_valued: bool = True) -> list[str]:
    """The candidates that one comparison certifies."""
    rng, half = random.Random(seed), rows // 2
    bids = []
    for name, truth in world.items():
        scores = [truth.score(rng) for _ in range(rows)]
        bids.append(Bid(name, scores[:half], scores[half:], truth.price))
    found: tuple[Certificate, ...] = cheapest(bids, target, two_valued=two_valued)
    return [one.name for one in found if one.holds]


def named(world: Mapping[str, Truth], certified: list[str]) -> str | None:
    """The cheapest of those certified."""
    return min(certified, key=lambda name: world[name].price, default=None)


def below(world: Mapping[str, Truth], certified: list[str], target: float) -> bool:
    """Whether one of them is not as good as wanted."""
    return any(world[name].quality < target for name in certified)


THREE = {"small": right(0.88, 0.1), "middle": right(0.98, 0.5), "large": right(0.995, 5.0)}
#: the hardest to get right: all of them just below
NONE_FIT = {"small": right(0.899, 0.1), "middle": right(0.899, 0.5), "large": right(0.899, 5.0)}
