"""Graders of text that need no gold: length, compression, patterns; and ROUGE-L, which does."""

from __future__ import annotations

import re
from dataclasses import dataclass

from llmbatch.extract.words import words
from llmbatch.grade.score import WRONG, Columns, Output, Score, source_text, text_of

_MOST_WORDS = 20_000  #: of a text that are compared by ROUGE


@dataclass(frozen=True, slots=True)
class Length:
    """1 while a field's length is within bounds; beyond them most / length, or length / least."""

    field: str
    least: float | None = None
    most: float | None = None
    unit: str = "chars"  #: or ``words``; a Han, Kana or Thai character is a word

    def grade(self, output: Output | None, row: Columns) -> Score | None:  # noqa: ARG002 - every grader gets the row
        """Measure; the detail ``length`` is the length."""
        if output is None:
            return WRONG
        text = text_of(output.get(self.field))
        length = len(text) if self.unit == "chars" else len(words(text))
        return Score(_within(length, self.least, self.most), {"length": float(length)})


@dataclass(frozen=True, slots=True)
class Compression:
    """1 while the field's characters are between ``least`` and ``most`` times those of its source, as for Length.

    The ratio is that of M. Grusky, M. Naaman, Y. Artzi, Newsroom (NAACL 2018), upside down: 0.1 is ten times shorter.
    """

    field: str
    source: tuple[str, ...]
    least: float | None = None
    most: float | None = None

    def grade(self, output: Output | None, row: Columns) -> Score | None:
        """Measure; the detail ``ratio`` is the ratio. A row without source text is not graded."""
        length = len(source_text(row, self.source))
        if not length:
            return None
        if output is None:
            return WRONG
        ratio = len(text_of(output.get(self.field))) / length
        return Score(_within(ratio, self.least, self.most), {"ratio": ratio})


def _within(value: float, least: float | None, most: float | None) -> float:
    if least is not None and value < least:
        return value / least
    return most / value if most is not None and value > most else 1.0


@dataclass(frozen=True, slots=True)
class Patterns:
    """1 when a field's text has every ``must`` and no ``must_not`` in it, else 0."""

    field: str
    must: tuple[re.Pattern[str], ...] = ()
    must_not: tuple[re.Pattern[str], ...] = ()

    def grade(self, output: Output | None, row: Columns) -> Score | None:  # noqa: ARG002 - every grader gets the row
        """Search."""
        if output is None:
            return WRONG
        text = text_of(output.get(self.field))
        kept = all(p.search(text) for p in self.must) and not any(p.search(text) for p in self.must_not)
        return Score(float(kept))


@dataclass(frozen=True, slots=True)
class RougeL:
    """The F1 of the longest common subsequence of words of a field and the gold text.

    With l its length, m words of the gold and n of the field: P = l / n, R = l / m, F1 = 2PR / (P + R). C.-Y. Lin,
    ROUGE: a package for automatic evaluation of summaries (ACL workshop Text Summarization Branches Out, 2004),
    section 3.1, with beta = 1 and no stemming. Says how much of the wording is shared, not whether it is true.
    """

    field: str
    gold: str

    def grade(self, output: Output | None, row: Columns) -> Score | None:
        """Compare; details ``precision`` and ``recall``."""
        if row.get(self.gold) is None:
            return None
        if output is None:
            return WRONG
        gold, given = (words(text_of(value))[:_MOST_WORDS] for value in (row[self.gold], output.get(self.field)))
        if not gold or not given:
            return Score(float(gold == given))
        common = longest_common(gold, given)
        precision, recall = common / len(given), common / len(gold)
        value = 2 * precision * recall / (precision + recall) if common else 0.0
        return Score(value, {"precision": precision, "recall": recall})


def longest_common(one: list[str], two: list[str]) -> int:
    """The length of the longest common subsequence.

    A column of the usual table as the bits of one integer: H. Hyyro, Bit-parallel LCS-length computation revisited
    (AWOCA 2004).
    """
    places: dict[str, int] = {}
    for i, word in enumerate(one):
        places[word] = places.get(word, 0) | 1 << i
    whole = (1 << len(one)) - 1
    column = whole
    for word in two:
        matches = column & places.get(word, 0)
        column = ((column + matches) | (column - matches)) & whole
    return len(one) - column.bit_count()
