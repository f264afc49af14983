"""Whether the answers are as good as before: graders' means of tonight and of two nights, and gold rows one by one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import sqrt
from statistics import fmean

from llmbatch.grade.move import DIRE, LEAST_ROWS, WELCOME, Move, Test, allowing, dispersion
from llmbatch.grade.profile import Profile, pooled
from llmbatch.grade.scores import mean_of, variance_of
from llmbatch.grade.stats import Interval, fewer, more_often, newcombe, paired_error, paired_z, welch
from llmbatch.grade.stats.special import normal_quantile

_TWO_NIGHTS = 5  #: and of a fall that tonight and the night before show together
_PRIMARY = 4  #: times the part that each other grader has: the first one's
OVER_TWO = " over two nights"


def score_tests(now: Profile, before: Sequence[Profile], min_change: float, recent: Profile | None) -> Iterator[Test]:
    """Of each grader, that its mean fell and that it rose tonight, and that it fell over tonight and ``recent``."""
    for number, (name, scores) in enumerate(now.scores.items()):
        part = 1 if number else _PRIMARY
        nights = [profile.scores[name] for profile in before if profile.scores.get(name)]
        yield from _mean_tests(f"grader {name}", scores, nights, min_change, {True: part * DIRE, False: part * WELCOME})
        if recent is not None and recent.scores.get(name):
            both, rest = _merged((scores, recent.scores[name])), nights[1:]
            yield from _mean_tests(f"grader {name}{OVER_TWO}", both, rest, min_change, {True: part * _TWO_NIGHTS})


def _mean_tests(
    what: str,
    scores: Mapping[float, int],
    nights: Sequence[Mapping[float, int]],
    min_change: float,
    weights: Mapping[bool, float],
) -> Iterator[Test]:
    """That the mean fell (``weights[True]``) and that it rose, whichever has a weight."""
    known = _merged(nights) if nights else {}
    if min(sum(scores.values()), sum(known.values())) < LEAST_ROWS:
        return
    phi = dispersion(nights, lambda one, rest: _distance(one, _merged(rest)))
    before, now = mean_of(known), mean_of(scores)
    interval = _of_difference(scores, known)
    for worse, weight in weights.items():
        p = _higher(known, scores) if worse else _higher(scores, known)
        move = Move(what, before, now, interval, allowing(p, phi), worse, context=False)
        yield Test(move, weight, abs(now - before) >= min_change)


def gold_tests(verdicts: Sequence[str], min_change: float) -> Iterator[Test]:
    """Of gold rows that were asked on nights before too, row by row, that fewer agree tonight and that more do."""
    if len(verdicts) < 2:
        return
    now, *nights = verdicts
    phi = dispersion(nights, paired_z)
    change = now.count("1") / len(now) - fmean(night.count("1") / len(night) for night in nights)
    before = now.count("1") / len(now) - change
    reach = normal_quantile(0.975) * paired_error(now, nights)
    interval = Interval(change - reach, change + reach)
    p = fewer(now, nights)
    for worse, one_sided in ((True, p), (False, fewer(_turned(now), [_turned(night) for night in nights]))):
        move = Move("gold rows", before, before + change, interval, allowing(one_sided, phi), worse, context=False)
        yield Test(move, DIRE if worse else WELCOME, abs(change) >= min_change)


def _turned(verdicts: str) -> str:
    return verdicts.translate({48: "1", 49: "0"})


def _merged(nights: Sequence[Mapping[float, int]]) -> Mapping[float, int]:
    return pooled(Profile(scores={"": night}) for night in nights).scores[""]


def _higher(one: Mapping[float, int], two: Mapping[float, int]) -> float:
    """One-sided p that the first group's mean is higher: as a share where scores are 0 or 1, else Welch's."""
    n, m = sum(one.values()), sum(two.values())
    if {*one, *two} <= {0.0, 1.0}:
        return more_often(one.get(1.0, 0), n, two.get(1.0, 0), m)
    return welch(mean_of(one), variance_of(one), n, mean_of(two), variance_of(two), m)


def _distance(one: Mapping[float, int], two: Mapping[float, int]) -> float:
    """The difference of two means in standard errors; 0 where nothing varies."""
    spread = variance_of(one) / sum(one.values()) + variance_of(two) / sum(two.values())
    return (mean_of(one) - mean_of(two)) / sqrt(spread) if spread else 0.0


def _of_difference(now: Mapping[float, int], before: Mapping[float, int]) -> Interval:
    n, m = sum(now.values()), sum(before.values())
    if {*now, *before} <= {0.0, 1.0}:
        return newcombe(now.get(1.0, 0), n, before.get(1.0, 0), m)
    reach = normal_quantile(0.975) * sqrt(variance_of(now) / n + variance_of(before) / m)
    change = mean_of(now) - mean_of(before)
    return Interval(change - reach, change + reach)
