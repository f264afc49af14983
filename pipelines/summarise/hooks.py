"""Checks on summaries beyond the schema: shorter than the text, and grounded in it.

llmbatch imports this file: it is trusted code. An edit here asks nothing again: stored answers are judged anew.

Grounded means: every number and every name of the answer stands in the text. What counts as a name is a word with a
capital letter (Latin, Cyrillic, Greek ...) where the sentence does not ask for one. The check would rather let an
invention pass than turn down a good summary, so these are its limits:

- A sentence's first word is a name only if it looks like one anywhere: NATO, iPhone, GPT-4. So is each word of a
  Headline Written Like This.
- German writes every noun with a capital, so there only two such words in a row, both unknown to the text, are a name.
- Names may be inflected: Berlin's, Москве for Москва, Spanish for Spain.
- Scripts without capitals (Chinese, Japanese, Arabic, Hindi ...) are checked for numbers only.
- Numbers may be written otherwise (1,000 or 1.000 or 1 000, 5% or 5 percent, "three", 1.2 million), but not rounded.
"""

from __future__ import annotations

import html
import re
import unicodedata
from itertools import pairwise
from typing import Any

ALWAYS_FITS = 200  # characters: a text this short may be its own summary

INLINE_TAG = re.compile(r"</?(?:a|b|i|u|s|em|strong|span|sub|sup|mark|code|small)(?:\s[^<>]*)?>", re.IGNORECASE)
OTHER_TAG = re.compile(r"</?[a-zA-Z][^<>]*>|<!--(?:(?!<!--).)*?-->", re.DOTALL)
NUMBER = re.compile(r"\d{1,3}(?:[.,'’ ]\d{3}(?!\d))+(?:[.,]\d+)*|\d+(?:[.,]\d+)*")
SCALE = re.compile(
    r"[\s-]*(?:(thousand|tausend|mille?|mil|k|тыс\w*)"
    r"|(million\w*|millón|millones|milhão|milhões|milioni?|milion\w*|mio|mln|m|млн|миллион\w*)"
    r"|(billion|bn|milliards?|milliarden?|mrd|mld|миллиард\w*|млрд))(?![^\W\d_])",
    re.IGNORECASE,
)
SCALES = (10**3, 10**6, 10**9)
NUMBER_WORDS = {
    word: value
    for words in (
        "zero one two three four five six seven eight nine ten eleven twelve",
        "null eins zwei drei vier fünf sechs sieben acht neun zehn elf zwölf",
        "zéro un deux trois quatre cinq six sept huit neuf dix onze douze",
        "cero uno dos tres cuatro cinco seis siete ocho nueve diez once doce",
        "zero um dois três quatro cinco seis sete oito nove dez onze doze",
        "zero jeden dwa trzy cztery pięć sześć siedem osiem dziewięć dziesięć jedenaście dwanaście",
        "ноль один два три четыре пять шесть семь восемь девять десять одиннадцать двенадцать",
        "〇 一 二 三 四 五 六 七 八 九 十",
    )
    for value, word in enumerate(words.split())
} | {"thirteen": 13, "fourteen": 14, "fifteen": 15, "sixteen": 16, "seventeen": 17, "eighteen": 18, "nineteen": 19}
NUMBER_WORDS |= {"twenty": 20, "thirty": 30, "forty": 40, "fifty": 50, "sixty": 60, "seventy": 70, "eighty": 80}
NUMBER_WORDS |= {"ninety": 90, "hundred": 100, "dozen": 12, "first": 1, "second": 2, "third": 3, "once": 1, "twice": 2}

UNSPACED = "\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"  # words without spaces between
WORD = re.compile(rf"[^\W{UNSPACED}]+(?:[-.&+][^\W{UNSPACED}]+)*(?:['’]\w+)*")
SEPARATOR = re.compile(r"[-.&+'’]")
DEMONYMS = ("ish", "ese", "ian", "ean", "an")
OPENS_SENTENCE = re.compile(r"(?:^|(?<!\b[A-ZDМ])(?<!\b[DMS][rst])(?<!\bMrs)[.!?…:;。！？•\n“”„«»‘'\"‹›¿¡])\s*$")
GERMAN = {
    "der",
    "das",
    "und",
    "ist",
    "nicht",
    "mit",
    "den",
    "von",
    "zu",
    "für",
    "auf",
    "ein",
    "eine",
    "im",
    "dem",
    "des",
}


def check(output: dict[str, Any], row: dict[str, Any]) -> list[str]:
    """Problems of an output, as sentences the model can act on; an empty list means valid."""
    text, summary = plain(str(row["text"])), plain(output["summary"])
    problems = []
    if len(summary) > len(text) or (len(summary) == len(text) > ALWAYS_FITS):
        problems.append(f"summary has {len(summary)} characters, the text {len(text)}: make it shorter than the text")
    for field in ("headline", "summary"):
        answer = plain(output[field])
        if strange := unknown_numbers(answer, text):
            problems.append(
                f"{field} has numbers that the text lacks: {', '.join(strange)}. Copy numbers as they stand"
            )
        if strange := unknown_names(answer, text, headline=field == "headline"):
            problems.append(f"{field} has names that the text lacks: {', '.join(strange)}. Use the text's own names")
    return problems


def plain(text: str) -> str:
    """Text as a reader sees it: no tags, entities or Markdown marks, plain digits and letters, spaces collapsed."""
    text = re.sub(INLINE_TAG, "", html.unescape(text))
    text = unicodedata.normalize("NFKC", re.sub(OTHER_TAG, "\n", text))
    text = re.sub(r"[*_`]{1,3}(?=\w)|(?<=\w)[*_`]{1,3}(?!\w)", "", text)
    return re.sub(r"[^\S\n]+", " ", text).strip()


def unknown_numbers(answer: str, text: str) -> list[str]:
    """The numbers of an answer that its text has in no spelling, in order."""
    known = set().union(*(values for _, values in numbers(text)))
    words = [word for word in re.findall(r"[^\W\d_]+", text.casefold()) if word in NUMBER_WORDS]
    known |= {float(NUMBER_WORDS[word]) for word in words}
    known |= {float(NUMBER_WORDS[ten] + NUMBER_WORDS[one]) for ten, one in pairwise(words)}  # twenty-five
    known |= {float(NUMBER_WORDS[character]) for character in text if character in NUMBER_WORDS}  # 三
    return [written for written, values in numbers(answer) if not values & known]


def numbers(text: str) -> list[tuple[str, set[float]]]:
    """Each number as it is written, with all values it may mean: 1.200 is 1200 or 1.2; 1.2 million also 1200000."""
    found = []
    for match in NUMBER.finditer(text):
        values = readings(match.group())
        if scale := SCALE.match(text, match.end()):
            factor = SCALES[int(scale.lastindex or 1) - 1]
            values |= {round(value * factor, 3) for value in values}
        found.append((match.group(), values))
    return found


def readings(number: str) -> set[float]:
    """The values that a number with separators may stand for; of a date or a version all its parts."""
    bare = re.sub(r"['’ ]", "", number)
    values = {float(part) for part in number.split()} if number.replace(" ", "").isdigit() else set()
    if re.fullmatch(r"\d{1,3}(?:[.,]\d{2,3})*[.,]\d{3}", bare):  # 1,000; 12,34,567 as India groups them
        values.add(float(re.sub(r"[.,]", "", bare)))
    if decimal := re.fullmatch(r"(\d+(?:[.,]\d{3})*?)(?:[.,](\d+))?", bare):
        values.add(float(f"{re.sub('[.,]', '', decimal[1])}.{decimal[2] or 0}"))
    return values or {float(part) for part in re.split(r"[.,]", bare)}


def unknown_names(answer: str, text: str, *, headline: bool) -> list[str]:
    """The names of an answer that its text lacks, in order; words side by side are one name."""
    if answer.isupper():
        return []
    vocabulary = Vocabulary(text)
    no_sign = headline and is_title_case(answer)
    strange: list[list[str]] = []
    end = -1  # of the last unknown word
    for match in WORD.finditer(answer):
        opens = no_sign or OPENS_SENTENCE.search(answer, 0, match.start()) is not None
        if is_name(match.group(), opens=opens) and not vocabulary.has(match.group()):
            if answer[end : match.start()] == " ":
                strange[-1].append(match.group())
            else:
                strange.append([match.group()])
            end = match.end()
    if is_german(answer):
        strange = [words for words in strange if len(words) > 1]
    return [" ".join(words) for words in strange if not vocabulary.abbreviates(words)]


class Vocabulary:
    """The words of a text, and which words of an answer they cover."""

    def __init__(self, text: str) -> None:
        words = WORD.findall(text)
        parts = [part for word in words for part in (word, *SEPARATOR.split(word)) if part]
        self.words = {fold(part) for part in parts}
        self.names = {fold(part) for part in parts if part[0].isupper()}
        self.initials = "".join(fold(word)[:1] for word in words if word[0].isupper())
        self.squeezed = squeeze(text)

    def has(self, word: str) -> bool:
        """Whether the text has a word, its parts, an inflected form of it, or the words that it abbreviates."""
        if fold(word) in self.words or (word.isupper() and 1 < len(word) <= 6 and fold(word) in self.initials):
            return True
        if any(c.isdigit() for c in word):  # GPT-5 is not GPT-4, and Covid 19 is COVID-19
            return squeeze(word) in self.squeezed
        parts = [fold(part) for part in SEPARATOR.split(word) if len(part) > 1]
        return squeeze(word) in self.words or (bool(parts) and all(self.has_akin(part) for part in parts))

    def has_akin(self, part: str) -> bool:
        """Whether the text has a word, or a name with another ending, a compound of it, an abbreviation."""
        if part in self.words:
            return True
        least = max(3, len(part) - 4) if part.endswith(DEMONYMS) else max(4, len(part) - 3)
        return len(part) >= 4 and any(
            (len(name) >= 4 and part.startswith(name)) or (len(name) >= least and name[:least] == part[:least])
            for name in self.names
        )

    def abbreviates(self, words: list[str]) -> bool:
        """Whether the text has the words' initials: WHO for World Health Organization."""
        return len(words) > 1 and "".join(fold(word)[:1] for word in words) in self.words


def is_name(word: str, *, opens: bool) -> bool:
    """Whether a word is written like a name. Where any word has a capital, it needs one, or a digit, further in."""
    if len(word) == 1 or not any(c.isupper() for c in word):
        return False
    return not opens or any(c.isupper() or c.isdigit() for c in re.sub(r"['’]\w+$", "", word)[1:])


def fold(word: str) -> str:
    """A word without case, accents and possessive."""
    word = re.sub(r"['’]s?$", "", word.casefold())
    return "".join(c for c in unicodedata.normalize("NFKD", word) if not unicodedata.combining(c))


def squeeze(text: str) -> str:
    """Folded text without the marks and spaces that names are written with or without."""
    return re.sub(r"[-.\s]", "", fold(text))


def is_title_case(text: str) -> bool:
    """Whether Every Longer Word Has a Capital, as in English Headlines."""
    longer = [word for word in re.findall(r"[^\W\d_]{4,}", text) if word.upper() != word.lower()]
    return len(longer) > 2 and all(word[0].isupper() for word in longer)


def is_german(text: str) -> bool:
    """Whether a text is German by its function words."""
    words = re.findall(r"[^\W\d_]+", text.casefold())
    hits = [word for word in words if word in GERMAN]
    return len(set(hits)) >= 2 and len(hits) * 8 >= len(words)
