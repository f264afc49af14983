"""Which sentences and phrases stand for a text."""

import time

import pytest

from llmbatch.extract.document import Document

NEWS = (
    "The city council of Corran Bay approved 3.5 million euros for two new water treatment plants on Tuesday. "
    "It was a long evening. "
    "The plants will filter microplastics from the water that now flows into the bay. "
    "Somebody had brought cake. "
    "Water from the plants will be tested every week, the council said."
)


def test_summary_keeps_what_the_text_turns_on() -> None:
    summary = Document(NEWS).summary(300)
    assert summary.startswith("The city council of Corran Bay approved")
    assert "cake" not in summary
    assert len(summary) <= len(NEWS) // 2


def test_summary_is_in_the_order_of_the_text() -> None:
    document = Document(NEWS)
    places = [NEWS.index(sentence) for sentence in document.sentences if sentence in document.summary(300)]
    assert places == sorted(places)


def test_a_short_text_is_its_own_summary() -> None:
    assert Document("It works now, thanks.").summary(400) == "It works now, thanks."


def test_one_long_sentence_is_cut_to_half() -> None:
    text = "We looked at the printer, " * 20 + "and gave up."
    summary = Document(text).summary(400)
    assert len(summary) <= len(text) // 2
    assert summary.endswith("…")


def test_no_text_says_so() -> None:
    assert Document("").summary(400) == "(no text)"
    assert Document(" \n ").headline(80) == "(no text)"


def test_phrases() -> None:
    found = Document(NEWS).phrases
    assert "water treatment plants" in found
    assert len({phrase.casefold() for phrase in found}) == len(found)


def test_phrases_of_chinese_are_parts_of_the_text() -> None:
    text = "人工智能公司发布了新的语言模型，市场竞争激烈。"
    found = Document(text).phrases
    assert "语言模型" in found
    assert all(phrase in text for phrase in found)


def test_time_grows_with_the_length_only() -> None:
    text = " ".join(f"Sentence number {i} speaks of parcels and shelf {i % 7} in the shop." for i in range(2_000))
    started = time.process_time()
    Document(text).summary(400)
    assert time.process_time() - started < 2  # 2,000 sentences; a matrix of all pairs takes far longer


@pytest.mark.parametrize("piece", ["<!--", "<script>", "**a", "[a](", "a.", "A", "- ", "1."])
def test_no_text_takes_long(piece: str) -> None:
    started = time.process_time()
    Document(piece * (40_000 // len(piece))).summary(400)
    assert time.process_time() - started < 1
