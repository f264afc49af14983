"""A text that a regular expression accepts: found in the document, or built."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice

_SEARCHED = 4_000  #: characters of a document in which a pattern is looked for
_REPEATS = range(65)  #: how far open-ended repeats are stretched to reach a minimum length
_LONGEST = 10_000  #: characters a repeat may come to
_CLASS = {"d": "0", "w": "a", "s": " ", "D": "a", "W": "-", "S": "a", "t": "\t", "n": "\n"}
_TRIED = "aA0 -_.,:;/@#é中"  #: characters tried for a character class
_PARTS = re.compile(
    r"\\[\s\S]|\[\^?\]?(?:\\[\s\S]|[^\]\\])*\]|\((?:\?(?:[:=!]|<[=!]|P?<\w+>))?|[)|^$]|[*+?]\??|\{\d+(?:,\d*)?\}\??|[\s\S]"
)
_QUANTIFIER = re.compile(r"([*+?])\??$|\{(\d+)(,(\d*))?\}\??$")


def search(pattern: str, text: str) -> Iterator[str]:
    """What a text holds that the pattern accepts as a whole value, in order; nothing where ``re`` cannot read it."""
    try:
        whole, loose = re.compile(pattern, re.ASCII), re.compile(pattern.removeprefix("^").removesuffix("$"), re.ASCII)
    except re.error:
        return
    for match in loose.finditer(text[:_SEARCHED]):
        if match.group() and whole.search(match.group()):
            yield match.group()


def build(pattern: str, least: int, most: int) -> str | None:
    """A text of ``least`` to ``most`` characters for a pattern of literals, classes, groups, choices and repeats.

    None where that is not enough: lookaround, references back, Unicode classes, and patterns that ``re`` cannot read.
    """
    try:
        compiled = re.compile(pattern, re.ASCII)
    except re.error:
        return None
    for repeats in _REPEATS:
        text, _ = _sequence(_PARTS.findall(pattern), 0, repeats)
        if not compiled.search(text):
            continue
        padded = text + text[-1:] * (least - len(text))  # helps where the pattern has no end anchor
        for candidate in (text, padded):
            if least <= len(candidate) <= most and compiled.search(candidate):
                return candidate
    return None


def _sequence(parts: list[str], at: int, repeats: int) -> tuple[str, int]:
    """The text of one sequence, first choice only, and the index after it."""
    text = ""
    while at < len(parts) and parts[at] != ")":
        if parts[at] == "|":
            _, at = _sequence(parts, at + 1, repeats)
            return text, at
        unit, at = _atom(parts, at, repeats)
        count = 1
        if at < len(parts) and (quantifier := _QUANTIFIER.match(parts[at])) and len(parts[at]) <= 12:
            count, at = _count(quantifier, repeats), at + 1
        text += unit * min(count, _LONGEST // (len(unit) or 1))
    return text, at


def _atom(parts: list[str], at: int, repeats: int) -> tuple[str, int]:
    part = parts[at]
    if part.startswith("("):
        text, end = _sequence(parts, at + 1, repeats)
        return ("" if "=" in part or "!" in part else text), end + 1
    if part.startswith("[") and len(part) > 1:
        return _member(part), at + 1
    if part.startswith("\\") and len(part) > 1:
        return ("" if part[1] in "bBAZ" else _CLASS.get(part[1], part[1])), at + 1
    return ("" if part in "^$" else "a" if part == "." else part), at + 1


def _member(character_class: str) -> str:
    literal = [c for c in character_class[1:-1] if c not in "^\\-"]
    accepted = (c for c in (*literal, *_TRIED) if re.fullmatch(character_class, c, re.ASCII))
    return "".join(islice(accepted, 1))


def _count(quantifier: re.Match[str], repeats: int) -> int:
    mark, exact, is_range, upper = quantifier.groups()
    least = {"*": 0, "+": 1, "?": 0}[mark] if mark else int(exact)
    most = 1 if mark == "?" else None if mark or (is_range and not upper) else int(upper or exact)
    return least + repeats if most is None else min(most, least + repeats)
