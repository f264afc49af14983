"""The statistics against published tables, and against values of scipy 1.17.1, statsmodels 0.15.0 and ppi-python."""

import random

import pytest

from llmbatch.grade import stats
from llmbatch.grade.stats import special
from llmbatch.grade.stats.special import normal_quantile, student_quantile


@pytest.mark.parametrize(
    ("k", "n", "score", "exact"),
    [  # 81/263, 15/148, 0/20, 1/29: Newcombe, Statistics in Medicine 17 (1998) 857-872, table I; the rest statsmodels
        (81, 263, (0.2553, 0.3662), (0.2527, 0.3676)),
        (15, 148, (0.0624, 0.1605), (0.0578, 0.1617)),
        (0, 20, (0.0, 0.1611), (0.0, 0.1684)),
        (1, 29, (0.0061, 0.1718), (0.0009, 0.1776)),
        (29, 29, (0.8830302, 1.0), (0.8805551, 1.0)),
        (999_000, 1_000_000, (0.9989361, 0.9990601), (0.9989361, 0.9990610)),
        (0, 0, (0.0, 1.0), (0.0, 1.0)),
    ],
)
def test_intervals_of_a_share(k: int, n: int, score: tuple[float, float], exact: tuple[float, float]) -> None:
    for interval, (low, high) in ((stats.wilson(k, n), score), (stats.clopper_pearson(k, n), exact)):
        assert interval.low == pytest.approx(low, abs=5e-5)
        assert interval.high == pytest.approx(high, abs=5e-5)


@pytest.mark.parametrize(
    ("groups", "low", "high"),
    [  # Newcombe, Statistics in Medicine 17 (1998) 873-890, table II, method 10
        ((56, 70, 48, 80), 0.0524, 0.3339),
        ((9, 10, 3, 10), 0.1705, 0.8090),
        ((5, 56, 0, 29), -0.0381, 0.1926),
        ((10, 10, 0, 20), 0.6791, 1.0),
        ((10, 10, 0, 10), 0.6075, 1.0),
    ],
)
def test_interval_of_a_difference(groups: tuple[int, int, int, int], low: float, high: float) -> None:
    interval = stats.newcombe(*groups)
    assert [interval.low, interval.high] == pytest.approx([low, high], abs=5e-5)


@pytest.mark.parametrize(
    ("x", "a", "b", "below"),
    [
        (0.3, 2, 5, 0.579825),
        (0.9, 0.5, 0.5, 0.7951672353008665),
        (0.5, 1000, 1000, 0.5),
        (0.001, 1, 900, 0.5936133774547955),
        (0.45, 5e5, 6e5, 4.864713506451714e-22),
    ],
)
def test_incomplete_beta(x: float, a: float, b: float, below: float) -> None:
    assert special.beta_below(x, a, b) == pytest.approx(below, rel=1e-7)
    if 1e-6 < below < 1 - 1e-6:
        assert special.beta_quantile(below, a, b) == pytest.approx(x, abs=1e-9)


@pytest.mark.parametrize(("p", "df", "t"), [(0.975, 1, 12.706205), (0.975, 9, 2.262157), (0.995, 149, 2.609228)])
def test_students_t(p: float, df: float, t: float) -> None:
    assert special.student_quantile(p, df) == pytest.approx(t, abs=1e-5)
    assert special.student_above(t, df) == pytest.approx(1 - p, abs=1e-8)


def test_two_shares() -> None:
    assert stats.two_proportion(12, 200, 30, 1400) == pytest.approx(3.191511100310182)
    assert stats.fisher(3, 10, 9, 12) == pytest.approx(0.9952199503283095)
    assert stats.fisher(0, 20, 6, 20) == 1.0
    assert stats.fisher(12, 200, 30, 1400) == pytest.approx(0.003778676412815995)
    assert stats.more_often(12, 200, 30, 1400) == stats.fisher(12, 200, 30, 1400)  # 5.25 expected: exact
    assert stats.more_often(120, 2000, 300, 14000) == pytest.approx(special.normal_above(10.0924), rel=1e-3)
    assert stats.two_proportion(5, 5, 9, 9) == 0.0
    assert stats.more_often(0, 0, 3, 9) == 1.0


def test_paired_answers() -> None:
    values = [stats.mcnemar(better, worse) for better, worse in ((10, 21), (0, 6), (150, 200), (3, 3), (0, 0))]
    assert values == pytest.approx([0.07075554598122835, 0.03125, 0.008720036530555947, 1.0, 1.0])


@pytest.mark.parametrize(
    ("one", "two", "p"),
    [
        ((0.5, 0.1, 30), (0.45, 0.2, 50), 0.28051948512799735),
        ((0.9, 0.05, 2000), (0.91, 0.04, 14000), 0.9708732215399097),
        ((0.7, 0.03, 5), (0.4, 0.2, 7), 0.07210358115787739),
        ((0.5, 0.0, 30), (0.4, 0.0, 30), 0.0),
        ((0.5, 0.1, 1), (0.4, 0.1, 30), 1.0),
    ],
)
def test_two_means(one: tuple[float, float, int], two: tuple[float, float, int], p: float) -> None:
    assert stats.welch(*one, *two) == pytest.approx(p, abs=1e-9)


def test_distributions() -> None:
    one, two = {1: 3, 2: 5, 4: 2}, {1: 1, 2: 1, 5: 8}
    assert stats.ks_statistic(one, two) == pytest.approx(0.8)
    assert stats.ks_statistic(one, one) == 0.0
    # Smirnov's limit: 5 % at 1.36, 1 % at 1.63 (Annals of Mathematical Statistics 19 (1948) 279-281)
    huge = 10**8
    for x, p in ((1.36, 0.049485876755377876), (2, 0.0006709252557796953), (0.5, 0.9639452436648751)):
        assert stats.ks_p(x * (2 / huge) ** 0.5, huge, huge) == pytest.approx(p, rel=1e-3)
    assert stats.ks_p(1 / 6, 80, 120) == pytest.approx(0.12856, abs=0.012)  # scipy's exact p
    assert stats.jensen_shannon({"a": 3, "b": 5, "c": 2}, {"a": 1, "b": 1, "c": 8}) == pytest.approx(0.281773601169986)
    assert stats.jensen_shannon({"a": 3}, {"b": 3}) == 1.0
    assert stats.psi({"a": 500, "b": 500}, {"a": 400, "b": 600}) == pytest.approx(0.1 * 0.405465, rel=0.01)


def test_many_tests_at_once() -> None:
    plain = [stats.Hypothesis(p) for p in (0.001, 0.02, 0.03, 0.008, 0.5)]
    assert stats.holm(plain, 0.05) == [True, False, False, True, False]
    heavy = [stats.Hypothesis(0.02, 5.0), stats.Hypothesis(0.02, 1.0), stats.Hypothesis(0.0, 0.0)]
    assert stats.holm(heavy, 0.03) == [True, True, False]  # 0.02 <= 0.025, then all of 0.03 is left for the other
    assert stats.holm(heavy, 0.02) == [False, False, False]


def test_how_many_rows() -> None:
    assert stats.rows_for_difference(0.5, 0.6, power=0.8) == 388  # Fleiss's formula, as in most textbooks
    assert stats.rows_for_difference(0.5, 0.6, power=0.9) == 519
    for half_width, share in ((0.05, 0.5), (0.03, 0.5), (0.01, 0.9)):
        n = stats.rows_for_half_width(half_width, share)
        assert stats.wilson(round(n * share), n).half_width <= half_width * 1.002
        assert stats.wilson(round((n - 8) * share), n - 8).half_width > half_width * 0.999
    fall = stats.detectable(0.9, 519, 519, alpha=0.025)
    assert stats.rows_for_difference(0.9, 0.9 - fall) == pytest.approx(519, abs=1)


def test_bootstrap_agrees_with_the_formula_and_with_itself() -> None:
    rng = random.Random(5)
    values: dict[float, int] = {}
    for _ in range(400):
        score = round(rng.betavariate(4, 2), 2)
        values[score] = values.get(score, 0) + 1
    drawn = stats.bootstrap_mean(values, seed=1)
    assert drawn == stats.bootstrap_mean(values, seed=1) != stats.bootstrap_mean(values, seed=2)
    mean = sum(v * n for v, n in values.items()) / 400
    spread = sum(n * (v - mean) ** 2 for v, n in values.items()) / 399
    by_formula = stats.mean_interval(mean, spread, 400)
    assert drawn.low == pytest.approx(by_formula.low, abs=0.003)
    assert drawn.high == pytest.approx(by_formula.high, abs=0.003)
    assert stats.bootstrap_mean({}) == stats.Interval(0.0, 1.0)


HUMAN = [1, 0, 1, 1, 0, 1, 0, 1, 1, 1]
SAME = [1, 0, 1, 0, 0, 1, 1, 1, 1, 1]
REST = [1, 1, 0, 1, 1, 0, 0, 1, 1, 1, 0, 1, 1, 1, 1, 0, 1, 1, 1, 1]


def test_judge_put_right_by_humans() -> None:
    found = stats.prediction_powered(HUMAN, SAME, REST)
    # ppi_py.ppi_mean_ci(..., lam=None) gives 0.718125, 0.4625 to 0.9738, with variances by n in place of n - 1
    assert found.value == pytest.approx(0.718, abs=0.003)
    wider = student_quantile(0.975, 9) / normal_quantile(0.975)  # Student's, for ten labels
    assert found.interval.half_width == pytest.approx(wider * (0.9738 - 0.4625) / 2, abs=0.03)
    useless = stats.prediction_powered(HUMAN, [1 - y for y in HUMAN], REST)
    assert useless.trust == 0
    assert useless.value == pytest.approx(0.7)


def test_prediction_powered_covers_the_truth_where_the_judge_is_biased() -> None:
    rng, hits, narrower = random.Random(3), 0, 0
    for _ in range(400):
        truth = [float(rng.random() < 0.8) for _ in range(1_000)]
        judge = [1.0 if t or rng.random() < 0.5 else 0.0 for t in truth]  # lets half of the wrong ones pass
        found = stats.prediction_powered(truth[:100], judge[:100], judge[100:])
        hits += found.interval.low <= 0.8 <= found.interval.high
        narrower += found.interval.half_width < stats.wilson(round(sum(truth[:100])), 100).half_width
    assert 0.91 <= hits / 400 <= 0.98
    assert narrower > 350


@pytest.mark.parametrize("labels", [20, 50])
def test_few_labels_without_a_mistake_do_not_make_a_judge_that_never_errs(labels: int) -> None:
    rng, hits = random.Random(labels), 0
    for _ in range(400):
        truth = [float(rng.random() < 0.9) for _ in range(labels + 280)]
        judge = [abs(t - (rng.random() < 0.03)) for t in truth]
        found = stats.prediction_powered(truth[:labels], judge[:labels], judge[labels:], two_valued=True)
        hits += found.interval.low <= 0.9 <= found.interval.high
        assert found.interval.low <= found.value <= found.interval.high
    assert hits / 400 >= 0.93


def test_the_same_rows_on_several_nights() -> None:
    # 9 rows turned wrong and 2 right: with one night before it is McNemar's one-sided test, binom.cdf(2, 11, 0.5)
    assert stats.fewer("0" * 9 + "1" * 2 + "1" * 50, ["1" * 9 + "0" * 2 + "1" * 50]) == pytest.approx(67 / 2048)
    assert stats.fewer("1" * 9 + "0" * 2, ["0" * 9 + "1" * 2]) == pytest.approx(2036 / 2048)
    assert stats.fewer("111", ["111", "111"]) == 1
    # of a row that was right in two of three nights, tonight included, tonight's is with 2/3: (1/3)^3
    assert stats.fewer("000", ["111", "111"]) == pytest.approx(1 / 27)
    rng = random.Random(2)
    nights = ["".join("01"[rng.random() < 0.7] for _ in range(280)) for _ in range(5)]
    exact, doubled = stats.fewer(nights[0], nights[1:]), stats.fewer(nights[0] * 2, [night * 2 for night in nights[1:]])
    assert 0 < exact < 1
    assert 0 < doubled < 1  # the other way of reckoning, of 560 rows
    errors = [stats.fewer("".join("01"[rng.random() < 0.8] for _ in range(600)), nights_of(rng)) for _ in range(300)]
    assert sum(p < 0.05 for p in errors) <= 26
    assert stats.paired_error("01" * 50, ["01" * 50]) == 0


def nights_of(rng: random.Random) -> list[str]:
    return ["".join("01"[rng.random() < 0.8] for _ in range(600)) for _ in range(3)]


def test_share_behind_an_imperfect_judge() -> None:
    found = stats.rogan_gladen((300, 1_000), (90, 100), (95, 100))
    assert found is not None
    assert found.value == pytest.approx((0.3 + 0.95 - 1) / 0.85)
    assert found.interval.low < found.value < found.interval.high
    assert stats.rogan_gladen((300, 1_000), (50, 100), (50, 100)) is None
    assert stats.rogan_gladen((300, 1_000), (0, 0), (95, 100)) is None
