"""The HTML report: one page that fetches nothing, runs nothing and escapes everything."""

import re
from html.parser import HTMLParser

import pytest

from llmbatch.report import LimitChange, RunFacts, build, html
from llmbatch.tally import Tally
from llmbatch.types import Outcome, Status
from tests.report.runs import a_night, answered, facts, reply

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
        attrs["class"]: float(attrs["width"] or 0) for tag, attrs in page.tags if tag == "rect" and "class" in attrs
    }
    assert sum(widths.values()) == pytest.approx(1_000, abs=0.1)
    assert widths["failed"] >= 4
    assert set(widths) == {"done", "failed"}


def test_an_empty_run_has_a_page_without_charts() -> None:
    page = Page(html(build(Tally(), facts(concurrency_final=None, limit_changes=(), files={}, resumed=()))))
    assert "the input has no rows" in page.words
    assert "Nothing was sent." in page.words
    assert page.attributes("svg", "class") == ["rows"]


def test_a_long_history_of_limits_is_cut_and_says_so() -> None:
    changes = tuple(LimitChange(float(n), "concurrency", n, f"reason {n}.") for n in range(100))
    words = Page(html(build(Tally(), facts(limit_changes=changes)))).words
    assert "reason 99." in words
    assert "reason 59." not in words
    assert "the first 60 are in report.json" in words


@pytest.mark.parametrize(("code", "level"), [(0, "ok"), (4, "warn"), (130, "warn"), (3, "bad"), (6, "bad"), (1, "bad")])
def test_the_head_shows_how_good_the_end_is(code: int, level: str) -> None:
    assert Page(html(build(a_night(), facts(exit_code=code)))).attributes("header", "class") == [level]
