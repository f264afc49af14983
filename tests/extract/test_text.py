"""Cleaning, sentences, cutting, words and languages."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbatch.extract.text import clean, sentences, shorten
from llmbatch.extract.tokens import count_tokens, cut_to_tokens
from llmbatch.extract.words import content_stems, guess_language


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Dr. Smith paid, e.g. in cash. She left.", ["Dr. Smith paid, e.g. in cash.", "She left."]),
        ("Prices rose 3.5 percent. Why? Nobody knows!", ["Prices rose 3.5 percent.", "Why?", "Nobody knows!"]),
        ('"Never again!" said J. Miller. It rained.', ['"Never again!" said J. Miller.', "It rained."]),
        ("Am 3. Mai kam Prof. Meier. Er blieb z.B. lange.", ["Am 3. Mai kam Prof. Meier.", "Er blieb z.B. lange."]),
        ("今日は晴れ。明日は雨！本当？", ["今日は晴れ。", "明日は雨！", "本当？"]),
        ("यह पहला है। यह दूसरा है।", ["यह पहला है।", "यह दूसरा है।"]),
        ("هل وصل الطلب؟ نعم.", ["هل وصل الطلب؟", "نعم."]),
        ("a line that a mail\nprogram wrapped.\n\nNext", ["a line that a mail program wrapped.", "Next"]),
        ("First point\nSecond point", ["First point", "Second point"]),
        ("🎉🎉", ["🎉🎉"]),
        ("", []),
    ],
)
def test_sentences(text: str, expected: list[str]) -> None:
    assert sentences(clean(text)) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<p>caf&eacute; &amp; <b>bar</b></p><script>x = '<p>'</script>", "café & bar"),
        ("one<br>two<li>three", "one\ntwo\n\nthree"),
        ("# Title\n**bold** and `code` and [a link](http://x.example/y)", "Title\nbold and code and a link"),
        ("a < b and c > d, <jo@example.com>, snake_case_name", "a < b and c > d, <jo@example.com>, snake_case_name"),
        ("5 * 3 * 2", "5 * 3 * 2"),
    ],
)  # fmt: skip
def test_clean(text: str, expected: str) -> None:
    assert "\n".join(line for line in clean(text).split("\n") if line) == expected.replace("\n\n", "\n")


@given(st.text(), st.integers(1, 60))
def test_shorten_keeps_the_limit(text: str, limit: int) -> None:
    assert len(shorten(text, limit)) <= limit


@given(st.text())
def test_no_letter_gets_lost_between_sentences(text: str) -> None:
    cleaned = clean(text)
    assert "".join("".join(sentences(cleaned)).split()) == "".join(cleaned.split())


def test_shorten_cuts_at_a_clause() -> None:
    assert shorten("The council met on Monday, and it rained all day", 30) == "The council met on Monday…"


def test_stems_meet() -> None:
    assert content_stems("charged charges charging charge") == ["charg"] * 4
    assert content_stems("the and of") == []


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("The parcel has not arrived and I would like to know where it is", "en"),
        ("Die Rechnung ist nicht richtig und wir haben sie schon bezahlt", "de"),
        ("La facture n'est pas correcte et nous avons déjà payé pour le mois", "fr"),
        ("No puedo entrar en la cuenta desde ayer y el error es el mismo", "es"),
        ("請求書が届きません", "ja"),
        ("我的订单还没有到", "zh"),
        ("لم تصل الفاتورة", "ar"),
        ("", "en"),
    ],
)
def test_language(text: str, code: str) -> None:
    assert guess_language(text) == code


@pytest.mark.parametrize(
    ("text", "exact"),  # o200k_base
    [
        ("The quick brown fox jumps over the lazy dog.", 10),
        ('{"id": 17, "tags": ["billing", "refund"], "ok": true}', 21),
    ],
)
def test_token_rule_is_near(text: str, exact: int) -> None:
    assert exact * 0.6 <= count_tokens(text) <= exact * 1.6


@given(st.text(max_size=300), st.integers(0, 50))
def test_a_cut_text_counts_at_most_so_many_tokens(text: str, most: int) -> None:
    cut = cut_to_tokens(text, most)
    assert text.startswith(cut)
    assert count_tokens(cut) <= max(1, most)
