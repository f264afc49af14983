"""The HTML report: one page that fetches nothing, runs nothing and escapes everything."""

import re
from dataclasses import replace
from decimal import Decimal
from html.parser import HTMLParser

import pytest

from llmbatch.report import LimitChange, RunFacts, build, html
from llmbatch.tally import Tally
from llmbatch.types import Outcome, Status
from tests.report.runs import a_night, answered, facts, reply
from tests.report.scenes import bad, classes, good

VOID = {"meta"}


class Page(HTMLParser):
    """Tags, attributes and text; fails on tags that do not nest."""

    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self._open: list[str] = []
        self.feed(source)
        assert not self._open, self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag, (tag, self.getpos())

    def handle_data(self, data: str) -> None:
        self.words += data

    def attributes(self, tag: str, name: str) -> list[str | None]:
        return [attrs[name] for found, attrs in self.tags if found == tag and name in attrs]


def test_a_well_formed_page_with_everything_on_it() -> None:
    page = Page(html(build(a_night(), facts())))
    shown = " ".join(page.words.split())
    for words in (
        "Finished: 7 of 12 rows valid, 2 failed, 1 skipped, 2 pending.",
        "12 = 5 done + 2 reused + 2 failed + 1 skipped + 2 pending",
        "Against the run before: 2 reused, 7 new, 3 changed, 1 gone",
        "strange-model",
        "unknown",
        "$0.0030",
        "1 of 7 answers has no known price",
        "too_long",
        "timed out",
        "Answers by latency",
        "no limit in sight",
        "Goes on from run 20261123-210000-aaaa, $0.25",
        "results/tag/results.jsonl",
        'To price strange-model, add [prices."strange-model"]',
    ):
        assert words in shown, words
    assert {"title", "h1", "main", "header", "section", "svg", "table", "thead", "tfoot"} <= {
        tag for tag, _ in page.tags
    }
    assert page.attributes("html", "lang") == ["en"]
    assert page.attributes("header", "class") == ["ok"]


def test_nothing_is_fetched_and_nothing_runs() -> None:
    source = html(build(a_night(), facts()))
    page = Page(source)
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    assert policy in page.attributes("meta", "content")
    assert not {tag for tag, _ in page.tags} & {"script", "link", "img", "iframe", "object", "base", "form", "a", "use"}
    names = {name for _, attrs in page.tags for name in attrs}
    assert not names & {"src", "href", "srcset", "action", "xlink:href", "style"}
    assert not {name for name in names if name.startswith("on")}
    assert not re.search(r"url\(|@import|https?:", source)


NASTY = 'QQQ<script>alert(1)</script>"><img src=x onerror=alert(1)>&lt; {{ 7*7 }} {% raw %}\x1b[2J\u202e\x00'


def test_foreign_text_is_escaped_wherever_it_stands() -> None:
    clean = Page(html(build(nasty_run("QQQ"), nasty_facts("QQQ"))))
    source = html(build(nasty_run(NASTY), nasty_facts(NASTY)))
    page = Page(source)
    assert [tag for tag, _ in page.tags] == [tag for tag, _ in clean.tags]
    assert [list(attrs) for _, attrs in page.tags] == [list(attrs) for _, attrs in clean.tags]
    shown = NASTY.replace("\x1b", "\\x1b").replace("\u202e", "\\u202e").replace("\x00", "\\x00")
    assert page.words.count(shown) == clean.words.count("QQQ") > 15
    assert not {"\x1b", "\x00", "\u202e"} & set(source)


def nasty_run(name: str) -> Tally:
    tally = Tally()
    tally.planned(3)
    answered(tally, reply(name, cost=None))
    tally.finished(Outcome(0, Status.FAILED, failure=name), None)
    tally.finished(Outcome(1, Status.SKIPPED, failure=name), None)
    tally.noted(name)
    return tally


def nasty_facts(name: str) -> RunFacts:
    return facts(
        run_id=name,
        pipeline=name,
        label=name,
        model=name,
        status=name,
        price_source=name,
        input=(name,),
        files={"results": name},
        command=("llmbatch", name),
        limit_changes=(LimitChange(0.0, "concurrency", 1, name),),
        structured_output=name,
        exit_code=5,
    )


def test_the_bar_of_rows_is_full_and_shows_the_few_among_the_many() -> None:
    tally = Tally()
    tally.total = 1_000_000
    tally.rows[Status.DONE] = 999_999
    tally.rows[Status.FAILED] = 1
    tally.failures["schema"] = 1
    page = Page(html(build(tally, facts())))
    widths = {
        attrs["class"]: float(attrs["width"] or 0)
        for tag, attrs in page.tags
        if tag == "rect" and attrs.get("class") in ("done", "reused", "failed", "skipped", "pending")
    }
    assert sum(widths.values()) == pytest.approx(1_000, abs=0.1)
    assert widths["failed"] >= 4
    assert set(widths) == {"done", "failed"}


def test_an_empty_run_has_a_page_without_charts() -> None:
    bare = facts(concurrency_final=None, limit_changes=(), files={}, resumed=(), planned=None)
    page = Page(html(build(Tally(), bare)))
    assert "the input has no rows" in page.words
    assert "Nothing was sent." in page.words
    assert page.attributes("svg", "class") == ["rows"]


def test_a_long_history_of_limits_is_told_by_reason() -> None:
    changes = tuple(LimitChange(float(n), "concurrency", n, f"{n}% rate limited") for n in range(1, 101))
    pauses = tuple(LimitChange(float(n), "pause", 2.5, "rate limited") for n in range(3))
    words = Page(html(build(Tally(), facts(limit_changes=(*changes, *pauses))))).words
    assert "100% rate limited" in words
    assert "100 times, 1.0 s to 1 min 40 s" in words
    assert "concurrency 1 to 100" in words
    assert "paused 7.5 s" in words
    assert "3 times, 0.0 s to 2.0 s" in words


def test_every_chart_has_a_title_a_description_and_its_numbers_as_text() -> None:
    page = Page(html(bad()))
    charts = [attrs for tag, attrs in page.tags if tag == "svg" and attrs.get("role") == "img"]
    assert len(charts) == 6
    ids = {attrs["id"] for _, attrs in page.tags if "id" in attrs}
    for chart in charts:
        named = (chart["aria-labelledby"] or "").split()
        assert len(named) == 2
        assert set(named) <= ids
    assert all(attrs.get("aria-hidden") == "true" for tag, attrs in page.tags if tag == "svg" and "role" not in attrs)
    assert page.words.count("As a table") == 3


def test_failures_have_their_examples_and_the_page_stays_short_with_many_classes() -> None:
    words = " ".join(Page(html(classes())).words.split())
    for n in range(30):
        assert f"class_{n}" in words
    assert words.count("a problem of some length") == 8 * 3
    assert "row 105, in.jsonl:5" in words


def test_outages_and_pauses_stand_on_the_time_axis() -> None:
    page = Page(html(bad()))
    bands = [attrs for tag, attrs in page.tags if tag == "rect" and attrs.get("class") in ("pause", "breaker")]
    assert [(band["class"], band["x"], band["width"]) for band in bands] == [
        ("pause", "125.0", "62.5"), ("breaker", "312.5", "250.0"),
    ] * 2  # fmt: skip
    assert "provider down, 12 s to 22 s" in page.words


def test_planned_and_trend_are_drawn_where_they_are_known() -> None:
    words = " ".join(Page(html(good())).words.split())
    assert "Planned $0.66, between $0.55 and $0.81; the bill is $0.6524." in words
    assert "5% above the median of the last 12 runs ($0.5750)" in words
    first = " ".join(Page(html(build(a_night(), facts(planned=None)))).words.split())
    assert "Planned and actual" not in first
    assert "Cost against the last runs" not in first
    cost = replace(good().cost, per_1000_done_usd=Decimal(0))
    free = replace(good(), cost=cost, trend=tuple(replace(run, per_1000_done_usd=Decimal(0)) for run in good().trend))
    assert "Cost against the last runs" not in Page(html(free)).words


@pytest.mark.parametrize(("code", "level"), [(0, "ok"), (4, "warn"), (130, "warn"), (3, "bad"), (6, "bad"), (1, "bad")])
def test_the_head_shows_how_good_the_end_is(code: int, level: str) -> None:
    assert Page(html(build(a_night(), facts(exit_code=code)))).attributes("header", "class") == [level]
