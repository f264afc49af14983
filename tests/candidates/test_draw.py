"""Which rows candidates are asked."""

from collections import Counter

from llmbatch.candidates import Drawing, halves


def drawn(seed: int, most: int, strata: list[str]) -> list[int]:
    drawing = Drawing(seed, most)
    for row_no, stratum in enumerate(strata):
        drawing.add(row_no, stratum)
    return drawing.rows()


STRATA = ["a"] * 700 + ["b"] * 280 + ["rare"] * 20


def test_every_stratum_has_its_share_in_both_halves() -> None:
    for seed in range(20):
        rows = drawn(seed, 100, STRATA)
        assert len(set(rows)) == 100
        shares = Counter(STRATA[row_no] for row_no in rows)
        assert 69 <= shares["a"] <= 71
        assert 1 <= shares["rare"] <= 3
        one, two = halves(rows, seed)
        assert sorted((*one, *two)) == sorted(rows)
        both = [Counter(STRATA[row_no] for row_no in half)["a"] for half in (one, two)]
        assert abs(both[0] - both[1]) <= 1


def test_the_same_seed_draws_the_same_and_another_one_others() -> None:
    assert drawn(1, 50, STRATA) == drawn(1, 50, STRATA)
    assert set(drawn(1, 50, STRATA)) != set(drawn(2, 50, STRATA))


def test_rows_have_the_same_chance() -> None:
    counts = Counter(row_no for seed in range(400) for row_no in drawn(seed, 10, ["a"] * 30 + ["b"] * 10))
    assert set(counts) == set(range(40))
    assert all(60 < count < 145 for count in counts.values())  # 100 +- 5 deviations


def test_few_rows_are_all_taken_and_many_strata_are_bounded() -> None:
    assert sorted(drawn(0, 100, ["a", "b", "c"])) == [0, 1, 2]
    assert drawn(0, 100, []) == []
    drawing = Drawing(0, 30)
    for row_no in range(10_000):
        drawing.add(row_no, str(row_no))
    assert len(drawing.rows()) == 30
    assert sum(map(len, drawing.kept.values())) <= 51 * 30


def test_halves_are_in_an_order_by_chance() -> None:
    one, two = halves(range(200), 3)
    assert list(one) != sorted(one)
    assert list(two) != sorted(two)
