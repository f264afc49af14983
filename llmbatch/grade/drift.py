"""Is tonight like the nights before? Each part of a profile tested, and all tests together held to one error.

The tests are one-sided Fisher or z for rates and labels, Welch for scores, Kolmogorov-Smirnov for spreads, Mantel and
Haenszel's for gold rows that were asked on other nights too. Two things keep harmless nights quiet beside the tests'
own error:

Nights that differ by nature. Each trailing night is tested against the others. Where they are further apart than chance
explains, by a factor phi of variance (the mean of their z squared), tonight's z is divided by its root. That is the
dispersion of quasi-likelihood: P. McCullagh, J. A. Nelder, Generalized Linear Models, 2nd ed. (1989), section 4.5.

A change too small to matter. Whatever its p, a share or score counts only if it moved by ``min_change``, or if a rare
one became several times as frequent (Cohen's h of 0.1); a label by an h of 0.1; a spread by a distance of 0.1.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from llmbatch.grade.falls import OVER_TWO, gold_tests, score_tests
from llmbatch.grade.move import CONTEXT, DIRE, LEAST_ROWS, WELCOME, Move, Test, allowing, dispersion
from llmbatch.grade.profile import Mix, Profile, Rate, median, pooled
from llmbatch.grade.stats import (
    Hypothesis,
    cohens_h,
    holm,
    ks_p,
    ks_statistic,
    more_often,
    newcombe,
    two_proportion,
)
from llmbatch.grade.stats.special import normal_for

ALPHA = 0.01  #: the probability of any alarm on a night like the others, over all tests together
_LEAST_H = 0.1
_LEAST_DISTANCE = 0.1
#: The kinds' parts of the error. What a grader says counts most: it is what the rows are for, and its tests need the
#: most rows; a label or a spread has to move so far to matter that a small p costs it nothing. A fall of one grader
#: tonight has 0.70 of the 1 % (0.56 with a second grader), so that 14 trailing nights see 90 % become 87 % in 2,000
#: rows nine times in ten.
_SCORES, _RATES, _MIXES, _SPREADS = 16.0, 0.75, 0.375, 0.375
_GOLD = 3.0  #: gold rows that were asked on nights before too
_LEAST_NIGHTS = 4  #: before two nights are held against the others


def moves(
    now: Profile,
    before: Sequence[Profile],
    *,
    min_change: float,
    alpha: float = ALPHA,
    steady: bool = True,
    gold: Sequence[str] = (),
) -> tuple[Move, ...]:
    """What moved between the trailing runs (put together, newest first) and tonight; worst first.

    Under no change the probability of a non-empty answer is at most ``alpha``. Parts that one side lacks, or has from
    fewer than :data:`LEAST_ROWS` rows, are not compared. ``steady``: tonight has the prompt and model of the night
    before, so that a fall which began then is looked for in both nights together. ``gold``: tonight's verdicts on the
    gold rows, then those of nights before on the same rows, a 1 or 0 each.
    """
    recent = before[0] if steady and len(before) >= _LEAST_NIGHTS else None
    tests = [
        *_weighed(list(score_tests(now, before, min_change, recent)), _SCORES),
        *_weighed(list(gold_tests(gold, min_change)), _GOLD),
        *_weighed(list(_rate_tests(now, before, min_change)), _RATES),
        *_weighed(list(_mix_tests(now, before)), _MIXES),
        *_weighed(list(_spread_tests(now, before)), _SPREADS),
    ]
    believed = holm([Hypothesis(test.move.p, test.weight) for test in tests], alpha)
    found = [test.move for test, significant in zip(tests, believed, strict=True) if significant and test.matters]
    alone = {f"{move.what}{OVER_TWO}" for move in found if move.worse}
    found = [move for move in found if move.what not in alone]  # tonight says it by itself
    return tuple(sorted(found, key=lambda move: (move.context, move.worse is not True, move.p)))


def _weighed(tests: list[Test], part: float) -> list[Test]:
    whole = sum(test.weight for test in tests)
    return [Test(test.move, part * test.weight / whole, test.matters) for test in tests]


def _rate_tests(now: Profile, before: Sequence[Profile], min_change: float) -> Iterator[Test]:
    """Of each rate, that it rose and that it fell. All rates of a profile are of something unwanted."""
    whole = pooled(before).rates
    for name, rate in now.rates.items():
        nights = [profile.rates[name] for profile in before if name in profile.rates]
        if rate.of >= LEAST_ROWS and name in whole and whole[name].of >= LEAST_ROWS:
            yield from _share_tests(name, rate, whole[name], nights, min_change)


def _share_tests(name: str, now: Rate, before: Rate, nights: Sequence[Rate], min_change: float) -> Iterator[Test]:
    phi = dispersion([n for n in nights if n.of], lambda one, rest: two_proportion(*_four(one, _sum(rest))))
    change = abs(now.share - before.share)
    matters = change >= min_change or abs(cohens_h(now.share, before.share)) >= _LEAST_H
    for worse, p in ((True, more_often(*_four(now, before))), (False, more_often(*_four(before, now)))):
        move = Move(
            what=name,
            before=before.share,
            now=now.share,
            interval=newcombe(*_four(now, before)),
            p=allowing(p, phi),
            worse=worse,
            context=name in CONTEXT,
        )
        yield Test(move, DIRE if worse else WELCOME, matters)


def _four(one: Rate, two: Rate) -> tuple[int, int, int, int]:
    return one.count, one.of, two.count, two.of


def _sum(rates: Sequence[Rate]) -> Rate:
    return Rate(sum(rate.count for rate in rates), sum(rate.of for rate in rates))


def _mix_tests(now: Profile, before: Sequence[Profile]) -> Iterator[Test]:
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
            yield Test(move, 1, abs(cohens_h(worst.now or 0.0, worst.before or 0.0)) >= _LEAST_H)


def _of(value: str, now: Mix, before: Mix, nights: Sequence[Mix]) -> tuple[Rate, Rate, list[Rate]]:
    one, two, *rest = (Rate(mix.counts.get(value, 0), mix.of) for mix in (now, before, *nights))
    return one, two, rest


def _spread_tests(now: Profile, before: Sequence[Profile]) -> Iterator[Test]:
    """Of each spread, that it changed its place or its shape."""
    whole = pooled(before).spreads
    for name, buckets in now.spreads.items():
        known = whole.get(name, {})
        if min(sum(buckets.values()), sum(known.values())) < LEAST_ROWS:
            continue
        nights = [profile.spreads[name] for profile in before if profile.spreads.get(name)]
        phi = dispersion(nights, lambda one, rest: normal_for(_apart(one, _together(rest)) / 2))
        move = Move(
            what=name,
            before=median(known),
            now=median(buckets),
            interval=None,
            p=min(1.0, 2 * allowing(_apart(buckets, known) / 2, phi)),
            worse=None,
            context=name in CONTEXT,
        )
        yield Test(move, 1, ks_statistic(buckets, known) >= _LEAST_DISTANCE)


def _together(nights: Sequence[Mapping[int, int]]) -> Mapping[int, int]:
    return pooled(Profile(spreads={"": night}) for night in nights).spreads[""]


def _apart(one: Mapping[int, int], two: Mapping[int, int]) -> float:
    return ks_p(ks_statistic(one, two), sum(one.values()), sum(two.values()))
