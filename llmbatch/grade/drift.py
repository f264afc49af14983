"""Is tonight like the nights before? Each part of a profile tested, and all tests together held to one error.

The tests are one-sided Fisher or z for rates and labels, Welch for scores, Kolmogorov-Smirnov for spreads. Two things
keep harmless nights quiet beside the tests' own error:

Nights that differ by nature. Each trailing night is tested against the others. Where they are further apart than chance
explains, by a factor phi of variance (the mean of their z squared), tonight's z is divided by its root. That is the
dispersion of quasi-likelihood: P. McCullagh, J. A. Nelder, Generalized Linear Models, 2nd ed. (1989), section 4.5.

A change too small to matter. Whatever its p, a share or score counts only if it moved by ``min_change``, or if a rare
one became several times as frequent (Cohen's h of 0.1); a label by an h of 0.1; a spread by a distance of 0.1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import fmean
from typing import TypeVar

from llmbatch.grade.profile import Mix, Profile, Rate, median, pooled
from llmbatch.grade.scores import mean_of, variance_of
from llmbatch.grade.stats import (
    Hypothesis,
    Interval,
    cohens_h,
    holm,
    ks_p,
    ks_statistic,
    more_often,
    newcombe,
    two_proportion,
    welch,
)
from llmbatch.grade.stats.special import normal_above, normal_for, normal_quantile

T = TypeVar("T")
ALPHA = 0.01  #: the probability of any alarm on a night like the others, over all tests together
LEAST_ROWS = 50  #: newly answered rows, tonight and on each trailing night; fewer say nothing
_LEAST_H = 0.1
_LEAST_DISTANCE = 0.1
_DIRE, _WELCOME = 10, 1  #: weights of the two directions of what can be better or worse
#: The kinds' parts of the error. What a grader says counts most: it is what the rows are for, and its tests need the
#: most rows. Chosen so that 14 trailing nights see one grader fall from 90 to 87 % in 2,000 rows nine times in ten.
_SCORES, _RATES, _MIXES, _SPREADS = 8.0, 1.5, 0.75, 0.75
#: parts that say what else changed rather than how good the answers are; they never fail a run
CONTEXT = frozenset(
    {"input_chars", "input_tokens", "language", "latency_ms", "micro_usd", "model", "output_tokens", "fingerprint"}
)


@dataclass(frozen=True, slots=True)
class Move:
    """Something that is not as it was."""

    what: str  #: ``grader tags``, ``refusal``, ``tags: billing``, ``output_chars``
    before: float | None  #: mean score, share of rows, or median
    now: float | None
    interval: Interval | None  #: of the change of a score or share, 95 %; None for spreads
    p: float  #: of this test alone, after allowing for nights that differ by nature
    worse: bool | None  #: None: neither better nor worse, but different
    context: bool  #: says what changed around the answers, not how good they are


@dataclass(frozen=True, slots=True)
class _Test:
    """One hypothesis: that one thing moved one way."""

    move: Move
    weight: float
    matters: bool


def moves(now: Profile, before: Sequence[Profile], *, min_change: float, alpha: float = ALPHA) -> tuple[Move, ...]:
    """What moved between the trailing runs (put together) and tonight; worst first.

    Under no change the probability of a non-empty answer is at most ``alpha``. Parts that one side lacks, or has from
    fewer than :data:`LEAST_ROWS` rows, are not compared.
    """
    tests = [
        *_weighed(list(_score_tests(now, before, min_change)), _SCORES),
        *_weighed(list(_rate_tests(now, before, min_change)), _RATES),
        *_weighed(list(_mix_tests(now, before)), _MIXES),
        *_weighed(list(_spread_tests(now, before)), _SPREADS),
    ]
    believed = holm([Hypothesis(test.move.p, test.weight) for test in tests], alpha)
    found = [test.move for test, significant in zip(tests, believed, strict=True) if significant and test.matters]
    return tuple(sorted(found, key=lambda move: (move.context, move.worse is not True, move.p)))


def _weighed(tests: list[_Test], part: float) -> list[_Test]:
    whole = sum(test.weight for test in tests)
    return [_Test(test.move, part * test.weight / whole, test.matters) for test in tests]


def _rate_tests(now: Profile, before: Sequence[Profile], min_change: float) -> Iterator[_Test]:
    """Of each rate, that it rose and that it fell. All rates of a profile are of something unwanted."""
    whole = pooled(before).rates
    for name, rate in now.rates.items():
        nights = [profile.rates[name] for profile in before if name in profile.rates]
        if rate.of >= LEAST_ROWS and name in whole and whole[name].of >= LEAST_ROWS:
            yield from _share_tests(name, rate, whole[name], nights, min_change)


def _share_tests(name: str, now: Rate, before: Rate, nights: Sequence[Rate], min_change: float) -> Iterator[_Test]:
    phi = _dispersion([n for n in nights if n.of], lambda one, rest: two_proportion(*_four(one, _sum(rest))))
    change = abs(now.share - before.share)
    matters = change >= min_change or abs(cohens_h(now.share, before.share)) >= _LEAST_H
    for worse, p in ((True, more_often(*_four(now, before))), (False, more_often(*_four(before, now)))):
        move = Move(
            what=name,
            before=before.share,
            now=now.share,
            interval=newcombe(*_four(now, before)),
            p=_allowing(p, phi),
            worse=worse,
            context=name in CONTEXT,
        )
        yield _Test(move, _DIRE if worse else _WELCOME, matters)


def _four(one: Rate, two: Rate) -> tuple[int, int, int, int]:
    return one.count, one.of, two.count, two.of


def _sum(rates: Sequence[Rate]) -> Rate:
    return Rate(sum(rate.count for rate in rates), sum(rate.of for rate in rates))


def _score_tests(now: Profile, before: Sequence[Profile], min_change: float) -> Iterator[_Test]:
    """Of each grader, that its mean fell and that it rose."""
    whole = pooled(before).scores
    for name, scores in now.scores.items():
        known = whole.get(name, {})
        if min(sum(scores.values()), sum(known.values())) < LEAST_ROWS:
            continue
        nights = [profile.scores[name] for profile in before if profile.scores.get(name)]
        phi = _dispersion(nights, lambda one, rest: _distance(one, _merged(rest)))
        means = mean_of(scores), mean_of(known)
        for worse, p in ((True, _higher(known, scores)), (False, _higher(scores, known))):
            move = Move(
                what=f"grader {name}",
                before=means[1],
                now=means[0],
                interval=_of_difference(scores, known),
                p=_allowing(p, phi),
                worse=worse,
                context=False,
            )
            yield _Test(move, _DIRE if worse else _WELCOME, abs(means[0] - means[1]) >= min_change)


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


def _mix_tests(now: Profile, before: Sequence[Profile]) -> Iterator[_Test]:
    """Of each mix one test: its most surprising value, paid for by the number of values (Bonferroni)."""
    whole = pooled(before).mixes
    for name, mix in now.mixes.items():
        known = whole.get(name, Mix(0, {}))
        if min(mix.of, known.of) < LEAST_ROWS:
            continue
        nights = [profile.mixes[name] for profile in before if name in profile.mixes]
        values = sorted({*mix.counts, *known.counts})
        tests = [test for value in values for test in _share_tests(value, *_of(value, mix, known, nights), 1.0)]
        if tests:
            worst = min(tests, key=lambda test: (test.move.p, test.move.what)).move
            move = Move(
                what=f"{name}: {worst.what}",
                before=worst.before,
                now=worst.now,
                interval=worst.interval,
                p=min(1.0, worst.p * len(tests)),
                worse=None,
                context=name in CONTEXT,
            )
            yield _Test(move, 1, abs(cohens_h(worst.now or 0.0, worst.before or 0.0)) >= _LEAST_H)


def _of(value: str, now: Mix, before: Mix, nights: Sequence[Mix]) -> tuple[Rate, Rate, list[Rate]]:
    one, two, *rest = (Rate(mix.counts.get(value, 0), mix.of) for mix in (now, before, *nights))
    return one, two, rest


def _spread_tests(now: Profile, before: Sequence[Profile]) -> Iterator[_Test]:
    """Of each spread, that it changed its place or its shape."""
    whole = pooled(before).spreads
    for name, buckets in now.spreads.items():
        known = whole.get(name, {})
        if min(sum(buckets.values()), sum(known.values())) < LEAST_ROWS:
            continue
        nights = [profile.spreads[name] for profile in before if profile.spreads.get(name)]
        phi = _dispersion(nights, lambda one, rest: normal_for(_apart(one, _together(rest)) / 2))
        move = Move(
            what=name,
            before=median(known),
            now=median(buckets),
            interval=None,
            p=min(1.0, 2 * _allowing(_apart(buckets, known) / 2, phi)),
            worse=None,
            context=name in CONTEXT,
        )
        yield _Test(move, 1, ks_statistic(buckets, known) >= _LEAST_DISTANCE)


def _together(nights: Sequence[Mapping[int, int]]) -> Mapping[int, int]:
    return pooled(Profile(spreads={"": night}) for night in nights).spreads[""]


def _apart(one: Mapping[int, int], two: Mapping[int, int]) -> float:
    return ks_p(ks_statistic(one, two), sum(one.values()), sum(two.values()))


def _dispersion(nights: Sequence[T], z_of: Callable[[T, Sequence[T]], float]) -> float:
    """How many times as far apart the trailing nights are as chance explains, as variance; at least 1."""
    if len(nights) < 3:
        return 1.0
    others = ([*nights[:i], *nights[i + 1 :]] for i in range(len(nights)))
    return max(1.0, fmean(z_of(night, rest) ** 2 for night, rest in zip(nights, others, strict=True)))


def _allowing(p: float, phi: float) -> float:
    """A one-sided p among nights that vary ``phi`` times as much as chance would have it."""
    return normal_above(normal_for(p) / sqrt(phi)) if phi > 1 else p
