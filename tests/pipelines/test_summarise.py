"""The check of pipelines/summarise: inventions are found, and good summaries pass."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbatch.pipeline import Check
from llmbatch.providers.strict import to_strict
from tests.pipelines.shipped import ROOT, judged, pipeline, render

TEXT = (
    "Berlin's mayor Angela Müller said on Tuesday that 1,234 people had signed up and that 3.5 million euros (5 "
    "percent of the budget) were missing at Acme Corp. The WHO and the European Union agreed with her. It was the "
    "third time since 2024-05-03, and the twenty-five engineers behind the GPT-4 pilot in Spain were not surprised. "
    "R&D costs rose by 12.5% to US$ 1 200 000, the iPhone app among them; José's team &amp; partners paid."
)
GERMAN = (
    "Die Stadt Hamburg hat am Montag beschlossen, dass die alte Brücke im Hafen bis zum Jahr 2027 für "
    "40 Millionen Euro saniert wird."
)
RUSSIAN = (
    "Мэр Москвы Сергей Иванов сказал, что новая линия метро откроется в декабре 2026 года и свяжет двенадцать районов."
)
JAPANESE = "白浜台高校は準決勝で5対4の逆転勝ちをおさめ、創部58年目で初めて決勝に進んだ。監督は笑顔だった。"
CAPITALS = "WARNING: THE HARBOUR BRIDGE IN PORT ALLARD IS CLOSED UNTIL FRIDAY. USE THE FERRY."


def check() -> Check:
    found = pipeline("summarise").check
    assert found is not None
    return found


def problems(summary: str, text: str = TEXT, headline: str = "The news") -> list[str]:
    return check()({"headline": headline, "summary": summary}, {"text": text})


@pytest.mark.parametrize(
    "summary",
    [
        "Müller of Berlin said that 1.234 people had signed up.",
        "Mayor Muller spoke of 1 234 people and 3,5 million euros.",
        "Some 3,500,000 euros are missing, 5% of the budget.",
        "It is the 3rd time since 3.5.2024.",
        "The World Health Organization and the EU agreed with Berlin's mayor.",
        "25 engineers in Spain, where Spanish pilots ran, were not surprised.",
        "The costs of R&D rose by 12.5 percent to 1.2 million US dollars.",
        "José’s team paid, and so did its partners at Acme.",
        "Jose and his partners paid for the iPhone app.",
        "According to her, GPT-4 was not to blame. Nobody was.",
        '"Nobody" was surprised: "Money is missing," she said.',
        "On Tuesday I read that Acme Corporation had lost money.",
        "**Angela Müller** spoke on *Tuesday*.",
    ],
)
def test_good_summaries_pass(summary: str) -> None:
    assert problems(summary) == []


@given(st.text(), st.text("A.1,0 '’-b²½三3٣<>&;\n"))
def test_every_text_is_grounded_in_itself(one: str, other: str) -> None:
    for text in (one, other):
        assert not [p for p in problems(text, text, headline="") if "lacks" in p]


@pytest.mark.parametrize(
    ("summary", "named"),
    [
        ("Müller said that 1,235 people had signed up.", "1,235"),
        ("Some 6% of the budget is missing.", "6"),
        ("About 7 million euros are missing.", "7"),
        ("It happened in 2023.", "2023"),
        ("The mayor, Hans Schmidt, spoke of Acme.", "Hans Schmidt"),
        ("She spoke in Paris.", "Paris"),
        ("NATO agreed with her.", "NATO"),
        ("McKinsey agreed with her.", "McKinsey"),
        ("Dr. Novak agreed with her.", "Novak"),
        ("Angela Merkel agreed with her.", "Merkel"),
        ("The pilot ran on GPT-5 and Spain paid.", "GPT-5"),
    ],
)
def test_inventions_are_named(summary: str, named: str) -> None:
    (problem,) = problems(summary)
    assert problem.startswith("summary has n")
    assert f" {named}." in problem or f" {named}," in problem


@pytest.mark.parametrize(
    ("text", "summary", "found"),
    [
        (GERMAN, "Die Sanierung der Brücke im Hamburger Hafen kostet 40 Millionen Euro und dauert bis 2027.", False),
        (GERMAN, "Der Umbau ist nach dem Beschluss von Olaf Scholz im Hafen bis 2027 fertig.", True),
        (GERMAN, "Die Stadt saniert die Brücke für 41 Millionen Euro.", True),
        (RUSSIAN, "В Москве в декабре откроется новая линия метро, сказал Иванов; она свяжет 12 районов.", False),
        (RUSSIAN, "Новую линию метро откроет мэр Собянин.", True),
        (JAPANESE, "白浜台高校が5対4で勝ち、58年目で初の決勝へ。", False),
        (JAPANESE, "白浜台高校が6対4で勝った。", True),
        (CAPITALS, "The Harbour Bridge in Port Allard is closed until Friday.", False),
        ("<p>It fell from 5.1</p><p>1 diver of <b>A</b>cme helped out that day.</p>", "It fell from 5.1.", False),
        ("In 2024 100 people came to see the old mill by the river.", "100 people came in 2024.", False),
        ("Die Fähre kostet 1.500 Euro, sagte sie.", "It is 1,500 euros.", False),
        ("Twelve of the twenty boats sank.", "12 of 20 boats sank.", False),
        ("店には三人の客がいて、とても静かだった。", "客は3人。", False),
    ],
)
def test_other_languages_and_spellings(text: str, summary: str, found: bool) -> None:
    assert bool(problems(summary, text)) is found


@pytest.mark.parametrize(
    ("headline", "found"),
    [
        ("Mayor Says Millions Are Missing From City Budget", False),
        ("MILLIONS MISSING IN BERLIN", False),
        ("Millions missing in Paris", True),
        ("NATO Says Millions Are Missing", True),
        ("99 people signed up", True),
    ],
)
def test_headlines(headline: str, found: bool) -> None:
    assert bool(problems("Money is missing.", headline=headline)) is found


def test_a_summary_is_shorter_than_its_text() -> None:
    long = "the ferry was late again " * 10
    assert "make it shorter" in problems(long, long)[0]
    assert problems("Late.", "Late.") == []
    assert "make it shorter" in problems("It was late.", "Late.")[0]


def test_the_text_cannot_end_early() -> None:
    prompt = render("summarise", {"text": "a </text> b <text> c"})
    assert prompt.endswith("<text>\na  b  c\n</text>")


def test_the_schema_is_fit_for_strict_mode() -> None:
    assert to_strict(pipeline("summarise").schema) is not None


async def test_offline_answers_are_valid_for_the_articles() -> None:
    rows = [orjson.loads(line) for line in (ROOT / "sample_data/articles.jsonl").read_bytes().splitlines()]
    verdicts = await judged("summarise", rows)
    assert sum(not verdict.valid for verdict in verdicts) <= len(rows) // 100
