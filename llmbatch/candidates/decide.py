"""Which candidate to name: selected on one half of the rows, certified on the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from llmbatch.grade.stats import lower_bound, right_rows_wanted, rows_for_difference

ERROR = 0.05  #: how often a candidate below the target is certified, at most, over all candidates together


@dataclass(frozen=True, slots=True)
class Bid:
    """A candidate as the decision sees it: its rows' scores, 0 to 1, in random order."""

    name: str
    selecting: Sequence[float]
    certifying: Sequence[float]
    price: float  #: dollars per 1,000 rows, of the selecting half


@dataclass(frozen=True, slots=True)
class Certificate:
    """What the certifying half says of a candidate."""

    name: str
    target: float | None  #: the mean that is wanted; None: none
    rows: int
    mean: float
    lower: float  #: what the mean is at least, 19 times in 20
    wanted_rows: int | None = None  #: about as many in both halves would show it, were the mean seen the true one

    @property
    def holds(self) -> bool:
        """Whether the candidate is certified."""
        return self.target is None or self.lower >= self.target


def cheapest(bids: Sequence[Bid], target: float, *, two_valued: bool) -> tuple[Certificate, ...]:
    """Certify candidates, the most promising first, each cheaper than the one before, until one fails.

    The selecting half chooses who comes to the test, and in which order: those whose mean there meets the target,
    without those that another one beats in mean and price. The certifying half has no part in that, so each test may
    use the whole error of 5 %, and the first that fails ends it: then the chance that any candidate below its target
    is certified is 5 % at most, however many there are. That is testing in a fixed order: W. Maurer, L. A. Hothorn, W.
    Lehmacher, Multiple comparisons in drug clinical trials and preclinical assays (1995); for models, A. N.
    Angelopoulos, S. Bates, E. J. Candes, M. I. Jordan, L. Lei, Learn then Test (arXiv:2110.01052), section 2.
    """
    tested: list[Certificate] = []
    for bid in _front(bids, target):
        tested.append(_certificate(bid, target, two_valued=two_valued))
        if not tested[-1].holds:
            break
    return tuple(tested)


def best(bids: Sequence[Bid], *, two_valued: bool) -> tuple[Certificate, ...]:
    """The candidate with the highest mean of the selecting half, the cheaper one of equals; () of none.

    Its own mean there is flattered by being the highest; that of the certifying half is not.
    """
    order = sorted(bids, key=lambda bid: (-fmean(bid.selecting), bid.price))
    return tuple(_certificate(bid, None, two_valued=two_valued) for bid in order[:1])


def _front(bids: Sequence[Bid], target: float) -> list[Bid]:
    order = sorted(bids, key=lambda bid: (-fmean(bid.selecting), bid.price))
    front: list[Bid] = []
    for bid in order:
        if fmean(bid.selecting) >= target and all(bid.price < other.price for other in front):
            front.append(bid)
    return front


def _certificate(bid: Bid, target: float | None, *, two_valued: bool) -> Certificate:
    mean = fmean(bid.certifying)
    lower = lower_bound(bid.certifying, ERROR, two_valued=two_valued)
    wanted = None
    if target is not None and lower < target < mean:
        wanted = 2 * max(rows_for_difference(mean, target, 2 * ERROR), right_rows_wanted(target, ERROR))
    return Certificate(bid.name, target, len(bid.certifying), mean, lower, wanted)
