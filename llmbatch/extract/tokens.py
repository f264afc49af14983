"""How many tokens a text may have, by rule."""

from __future__ import annotations

import re
from collections.abc import Iterator

_PIECE = re.compile(
    r"(?P<latin>[A-Za-z]+)|(?P<short>\d{1,3}|\n+)|(?P<unspaced>[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af])"
    r"|(?P<word>[^\W\d_]+)|(?P<mark>[^\w\s]+|_+)"
)


def count_tokens(text: str) -> int:
    """About how many tokens an LLM makes of a text, at least 1. A rule, not a tokenizer.

    A Latin word counts one token, and one more for each six letters beyond its second; up to three digits or a line
    break one; a Han, Kana or Hangul character 0.8; a word in other letters one for each three; marks one for each two.
    """
    return max(1, round(sum(tokens for _, tokens in _pieces(text))))


def cut_to_tokens(text: str, most: int) -> str:
    """The longest beginning of a text that counts at most ``most`` tokens, up to the end of a word."""
    total, end = 0.0, 0
    for piece_end, tokens in _pieces(text):
        total += tokens
        if total > most:
            return text[:end]
        end = piece_end
    return text


def _pieces(text: str) -> Iterator[tuple[int, float]]:
    for piece in _PIECE.finditer(text):
        length = piece.end() - piece.start()
        match piece.lastgroup:
            case "latin":
                yield piece.end(), 1 + max(0, length - 2) // 6
            case "word":
                yield piece.end(), -(-length // 3)
            case "mark":
                yield piece.end(), -(-length // 2)
            case "unspaced":
                yield piece.end(), 0.8
            case _:
                yield piece.end(), 1
