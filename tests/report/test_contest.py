"""How a comparison is told: as text, JSON and a page of its own."""

import re

import orjson
import pytest

from llmbatch.candidates import Candidate, Certificate, Comparison, Goal, on_the_front
from llmbatch.grade import Interval
from llmbatch.report import contest, contest_page


def candidate(name: str, mean: float, price: float | None) -> Candidate:
    prices = {"standard": price, "flex": None, "batch": None}
    return Candidate(name, name, "prompt.j2", "v", 100, 1, mean, Interval(mean - 0.03, mean + 0.02), {"right": mean},
                     0.01, prices, price, 12.0, 30.0, 5e4, "concurrency", 100, 0.1, 0, "run")  # fmt: skip


def comparison(*candidates: Candidate, named: str | None = None) -> Comparison:
    certificates = (Certificate(named, 0.9, 50, 0.97, 0.91),) if named else ()
    return Comparison("label", ("in.jsonl",), "f" * 64, 900, 100, 0, "right", "standard", "2026-11-25T20:00:00+00:00",
                      Goal(min_quality=0.9), on_the_front(candidates), certificates, named, "because")  # fmt: skip


def test_candidates_are_cheapest_first_and_those_that_nobody_beats_are_marked() -> None:
    found = comparison(candidate("large", 0.97, 9.0), candidate("free", 0.5, None), candidate("small", 0.8, 1.0),
                       candidate("bad", 0.7, 2.0), candidate("middle", 0.96, 3.0), named="middle")  # fmt: skip
    assert [(one.name, one.efficient) for one in found.candidates] == [
        ("small", True), ("bad", False), ("middle", True), ("large", True), ("free", False)
    ]  # fmt: skip
    told = contest.text(found)
    assert re.search(r"  \* middle +96.0%  93.0 to 98.0%", told)
    assert "middle: certified for 90.0%: 97.0% of 50 rows that did not select it, at least 91.0%" in told
    assert orjson.loads(orjson.dumps(contest.to_json(found)))["candidates"][4]["price"] is None


@pytest.mark.parametrize("prices", [(0.0, 0.0), (1.0, 100.0), (1.0, 2.0), (None, None)])
def test_the_plot_holds_every_point(prices: tuple[float | None, float | None]) -> None:
    one, two = (candidate(name, 0.9, price) for name, price in zip("ab", prices, strict=True))
    page = contest_page.html(comparison(one, two))
    places = [tuple(map(float, found)) for found in re.findall(r'cx="([\d.]+)" cy="([\d.]+)"', page)]
    assert len(places) == (0 if prices[0] is None else 2)
    assert all(60 <= x <= 640 and 0 <= y <= 260 for x, y in places)


def test_nothing_foreign_is_more_than_text() -> None:
    name = "<script>document.title='pwned'</script>\x1b[2J"
    page = contest_page.html(comparison(candidate(name, 0.9, 1.0), named=name))
    assert "<script" not in page
    assert "\x1b" not in page + contest.text(comparison(candidate(name, 0.9, 1.0), named=name))
    assert not re.search(r"(?:src|href)\s*=|url\(", page)
