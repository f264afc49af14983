"""Words of many languages: tokens, stems, a guess at the language."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

from llmbatch.extract.stopwords import ALL_STOPWORDS, STOPWORDS

_HAN = "\u3005\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_KANA = "\u3041-\u309f\u30a0-\u30ff"
_THAI_LAO_KHMER = "\u0e00-\u0eff\u1780-\u17ff"
#: Scripts that put no space between words; each of their characters counts as a word.
UNSPACED = f"{_HAN}{_KANA}{_THAI_LAO_KHMER}"
_WORD = re.compile(rf"[{UNSPACED}]|[^\W_{UNSPACED}]+(?:['’][^\W\d_{UNSPACED}]+)*")
_SCRIPTS = (
    ("ja", re.compile(f"[{_KANA}]")),
    ("ko", re.compile("[\uac00-\ud7af\u1100-\u11ff]")),
    ("zh", re.compile(f"[{_HAN}]")),
    ("ar", re.compile("[\u0600-\u06ff]")),
    ("he", re.compile("[\u0590-\u05ff]")),
    ("hi", re.compile("[\u0900-\u097f]")),
    ("th", re.compile("[\u0e00-\u0e7f]")),
    ("el", re.compile("[\u0370-\u03ff]")),
)
_SUFFIXES = ("ings", "ing", "edly", "ed", "ies", "es", "s", "ly")


def words(text: str) -> list[str]:
    """The words of a text, case-folded, in order; a Han, Kana or Thai character is a word of its own."""
    return _WORD.findall(text.casefold())


@lru_cache(maxsize=50_000)
def stem(word: str) -> str:
    """A word without accents and without a common English ending: ``charged`` and ``charges`` meet in ``charg``."""
    folded = word.replace("’", "'").removesuffix("'s")
    if not folded.isascii():
        folded = "".join(c for c in unicodedata.normalize("NFKD", folded) if not unicodedata.combining(c)) or folded
    if not folded.isascii():
        return folded
    for suffix in _SUFFIXES:
        if folded.endswith(suffix) and len(folded) - len(suffix) >= 3:
            folded = folded[: -len(suffix)]
            break
    return folded.rstrip("e") if len(folded) > 4 else folded


def content_stems(text: str) -> list[str]:
    """The stems of a text's words that are no function words, in order."""
    return [stem(word) for word in words(text) if word not in ALL_STOPWORDS]


def guess_language(text: str) -> str:
    """ISO 639-1 code of the language a text is most likely in; ``en`` when nothing tells.

    By script first, then by the share of each language's function words.
    """
    sample = text[:2000]
    letters = sum(c.isalpha() for c in sample)
    for code, script in _SCRIPTS:
        if len(script.findall(sample)) * 5 > letters:
            return code
    seen = words(sample)
    return max(STOPWORDS, key=lambda code: sum(word in STOPWORDS[code] for word in seen)) if seen else "en"
