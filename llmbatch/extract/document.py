"""A text as it is read once: sentences by weight, key phrases, numbers, summary, headline."""

from __future__ import annotations

import re
from functools import cached_property

from llmbatch.extract.phrases import phrases
from llmbatch.extract.rank import rank
from llmbatch.extract.text import clean, sentences, shorten
from llmbatch.extract.words import content_stems

NO_TEXT = "(no text)"
_NUMBER = re.compile(r"(?<![\w.,/-])-?\d{1,15}(?:\.\d{1,9})?(?!\w|[.,/-]\d)")
_CLOSED = "。！？｡」』）"  #: no space after these
_ENDED = re.compile(r"[.!?…。！？।॥؟۔][\"'”’»」』)）\]]*$")
_FRAGMENT = 0.6
_SHRINK = 0.6  #: of the length, each time the question is asked again
_SENTENCES = 3
_SHORT = 200  #: characters up to which a text is its own summary


class Document:
    """One text. What is costly is computed when first asked for."""

    def __init__(self, text: str) -> None:
        self.text = clean(text)

    @cached_property
    def sentences(self) -> list[str]:
        """All sentences, in the order of the text."""
        return sentences(self.text)

    @cached_property
    def weights(self) -> list[float]:
        """How central each sentence is; headings, list entries and other lines without an end count less."""
        return [
            weight * (1 if _ENDED.search(sentence) else _FRAGMENT)
            for weight, sentence in zip(rank(self.sentences), self.sentences, strict=True)
        ]

    @cached_property
    def order(self) -> list[int]:
        """The places of the sentences, the most central first."""
        return sorted(range(len(self.sentences)), key=lambda place: -self.weights[place])

    @cached_property
    def phrases(self) -> list[str]:
        """Key phrases, best first."""
        return phrases(self.text)

    @cached_property
    def stems(self) -> list[str]:
        """The stems of the content words, in order."""
        return content_stems(self.text)

    @cached_property
    def numbers(self) -> list[float]:
        """Plain numbers in the text, in order; those that are part of a word, a date or a larger number left out."""
        return [float(number) for number in _NUMBER.findall(self.text)]

    def key_sentence(self, place: int = 0) -> str:
        """The most central sentence, or the next ones."""
        return self.sentences[self.order[place % len(self.order)]] if self.order else NO_TEXT

    def summary(self, most: int, tries: int = 0) -> str:
        """The most central sentences in the order of the text, within ``most`` characters and half of the text.

        A text of one short sentence is its own summary. One sentence that is too long is cut, with an ellipsis. Each
        of ``tries`` earlier answers makes it shorter.
        """
        if not self.sentences:
            return shorten(NO_TEXT, most)
        is_short = len(self.text) <= _SHORT
        room = int(min(most, len(self.text) / (1 if is_short else 2)) * _SHRINK**tries) or 1
        chosen: list[int] = []
        for place in self.order:
            tried = self._joined([*chosen, place])
            if len(tried) <= room and self.weights[place] >= 0.3 * self.weights[self.order[0]]:
                chosen.append(place)
            if len(chosen) == (1 if is_short else max(1, _SENTENCES - tries)):
                break
        return self._joined(chosen) if chosen else shorten(self.key_sentence(), room)

    def headline(self, most: int, tries: int = 0) -> str:
        """The most central sentence, cut to ``most`` characters or less, without its full stop."""
        most = int(most * _SHRINK**tries) or 1
        return shorten(self.key_sentence().rstrip(".。"), most) or NO_TEXT[:most]

    def _joined(self, places: list[int]) -> str:
        text = ""
        for place in sorted(places):
            text += ("" if not text or text[-1] in _CLOSED else " ") + self.sentences[place]
        return text
