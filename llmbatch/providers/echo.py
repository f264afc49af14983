"""Words about a fault, a provider's or a check's, without what they quote of a row: they are shown, rows are not."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator

from llmbatch.extract.stopwords import STOPWORDS
from llmbatch.types import Json, Request, Row

ROW_TEXT = "[row text]"
_RUN = 12  #: characters in a row that no error has by chance from a prompt
_LEAST = 3  #: characters between quotation marks, or with a digit among them, that are looked for
_FUNCTION_WORDS = STOPWORDS["en"] - {"may", "will", "dear"}  #: which are no names
_WORD = re.compile(r"\w+")
_QUOTED = re.compile(r"(?<!\w)(['\"`])(.+?)\1(?!\w)|[“‘«](.+?)[”’»]", re.S)
_ESCAPE = re.compile(r"\\u([0-9a-fA-F]{4})")


def without_echo(words: str, request: Request) -> str:
    """The words with ``[row text]`` in place of what stands in the request's messages as well.

    That is: any twelve characters in a row, any word that has a digit in it, and anything between quotation marks.
    Case and white space do not count.
    """
    return _hidden(words, _folded(m["content"] for m in (*request.messages, *request.turns)), _pieces)


def without_row(words: str, row: Row, request: Request | None) -> str:
    """Likewise, of the row's columns as well, and strictly: every word of three letters that stands in them, but for
    function words such as "the".

    A check quotes names as they are, without marks around them. A word of ours that the row has too is lost with it.
    """
    texts = [*_texts(list(row.columns.values())), *(m["content"] for m in (request.messages[-1:] if request else ()))]
    return _hidden(words, _folded(texts), _pieces_and_words)


def _texts(value: Json) -> Iterator[str]:
    if isinstance(value, dict):
        for name, part in value.items():
            yield str(name)
            yield from _texts(part)
    elif isinstance(value, list):
        for part in value:
            yield from _texts(part)
    elif value is not None:
        yield str(value)


def _folded(texts: Iterable[str]) -> str:
    return " ".join(" ".join(text.split()) for text in texts).casefold()


def _hidden(words: str, sent: str, pieces: Callable[[str, str], list[tuple[int, int]]]) -> str:
    text = " ".join(_ESCAPE.sub(_character, words).split())
    folded = text.casefold()
    if len(folded) != len(text):  # some letters fold to two; places would not match
        text = folded
    hidden = sorted(_trimmed(folded, *span) for span in (*_runs(folded, sent), *pieces(folded, sent)))
    parts: list[str] = []
    at = 0
    for start, end in hidden:
        if not parts or text[at:start].strip():
            parts += [text[at:start], ROW_TEXT]
        at = max(at, end)
    return "".join(parts) + text[at:]


def _character(escape: re.Match[str]) -> str:
    code = int(escape[1], 16)
    return escape[0] if 0xD800 <= code < 0xE000 else chr(code)


def _runs(words: str, sent: str) -> list[tuple[int, int]]:
    """Places of the longest pieces, of at least twelve characters, that stand in both texts."""
    found: list[tuple[int, int]] = []
    at = 0
    while at <= len(words) - _RUN:
        if words[at : at + _RUN] not in sent:
            at += 1
            continue
        end = at + _RUN
        while end < len(words) and words[at : end + 1] in sent:
            end += 1
        found.append((at, end))
        at = end
    return found


def _trimmed(words: str, start: int, end: int) -> tuple[int, int]:
    """The place without spaces and marks at its ends, which are the provider's as likely as the row's."""
    while start < end - 1 and not words[start].isalnum():
        start += 1
    while start < end - 1 and not words[end - 1].isalnum():
        end -= 1
    return start, end


def _pieces(words: str, sent: str) -> list[tuple[int, int]]:
    """Places of quoted pieces and of words with a digit that stand in both texts."""
    spans = [match.span(2) if match[2] is not None else match.span(3) for match in _QUOTED.finditer(words)]
    spans += [match.span() for match in _WORD.finditer(words) if any(map(str.isdigit, match[0]))]
    return [(start, end) for start, end in spans if end - start >= _LEAST and words[start:end] in sent]


def _pieces_and_words(words: str, sent: str) -> list[tuple[int, int]]:
    known = set(_WORD.findall(sent)) - _FUNCTION_WORDS
    spans = [match.span() for match in _WORD.finditer(words) if match[0] in known and len(match[0]) >= _LEAST]
    return [*_pieces(words, sent), *spans]
