"""Whether a text stands on its source: numbers, names and words that the source has."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeVar

from llmbatch.extract.words import content_stems, stem, words
from llmbatch.grade.score import WRONG, Columns, Output, Score, source_text, text_of

T = TypeVar("T")
_NUMBER = re.compile(r"\d{1,3}(?:[ \u00a0\u202f]\d{3})+(?![\d])|\d+(?:[.,'’]\d+)*")
_SEPARATOR = re.compile(r"[.,'’ \u00a0\u202f]")
_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")
_OPENS = re.compile(r"(?:^|[.!?…:;。！？•\n“„«\"(\[])\s*$")


@dataclass(frozen=True, slots=True)
class Grounded:
    """How far a text says what its source says: the mean of up to three shares, each of what the text has.

    numbers   numbers that stand in the source, in any grouping (1,000 is 1000)
    names     words with a capital letter inside of a sentence that stand in the source, in any form of the word
    words     words that are no function words and stand in the source, in any form of the word

    A text without numbers or names has fewer parts. Beside them the detail ``bigrams``: the share of pairs of
    neighbouring words that the source has, which is 1 for a text that was copied and low for one in its own words.

    numbers and names are precision-source of F. Nan et al., Entity-level factual consistency of abstractive text
    summarization (EACL 2021); bigrams is 1 - novelty of A. See, P. J. Liu, C. D. Manning, Get to the point (ACL 2017);
    words is coverage of M. Grusky, M. Naaman, Y. Artzi, Newsroom (NAACL 2018) over content words.

    It sees inventions, not contradictions: "A sued B" for "B sued A" gets 1. Translations, synonyms and numbers that
    were worked out get less than they deserve. German counts every noun among the names; scripts without capitals
    have none.
    """

    field: str
    source: tuple[str, ...]

    def grade(self, output: Output | None, row: Columns) -> Score | None:
        """Compare; details are the parts that there are. A row without source text is not graded."""
        source = source_text(row, self.source)
        if not source.strip():
            return None
        if output is None:
            return WRONG
        text = text_of(output.get(self.field))
        if not text.strip():
            return WRONG
        details = _shares(text, source)
        parts = [details[name] for name in ("numbers", "names", "words") if name in details]
        return Score(sum(parts) / len(parts) if parts else 1.0, details)


def _shares(text: str, source: str) -> dict[str, float]:
    spoken = words(source)
    stems = {stem(word) for word in spoken}
    found = {
        "numbers": _share(_numbers(text), _numbers(source)),
        "names": _share((stem(name.casefold()) for name in _names(text)), stems),
        "words": _share((word for word in content_stems(text) if not word.isdigit()), stems),
        "bigrams": _share(pairwise(words(text)), set(pairwise(spoken))),
    }
    return {name: share for name, share in found.items() if share is not None}


def _share(these: Iterable[T], among: set[T]) -> float | None:
    """The share of different things that are among others; None when there are none."""
    different = set(these)
    return len(different & among) / len(different) if different else None


def _numbers(text: str) -> set[str]:
    """Every number as its digits, without what groups them."""
    plain = "".join(str(unicodedata.digit(c)) if c.isdecimal() and not c.isascii() else c for c in text)
    return {_SEPARATOR.sub("", number) for number in _NUMBER.findall(plain)}


def _names(text: str) -> Iterable[str]:
    """Words with a capital letter where the sentence does not ask for one."""
    for match in _WORD.finditer(text):
        if match[0][0].isupper() and not _OPENS.search(text, max(0, match.start() - 3), match.start()):
            yield match[0]
