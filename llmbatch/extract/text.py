"""From raw text to clean sentences: markup stripped, several scripts, no data files."""

from __future__ import annotations

import html
import re

_HIDDEN = re.compile(
    r"<(script|style|head)\b[^<>]*>(?:(?!<\1\b).)*?</\1\s*>|<!--(?:(?!<!--).)*?-->", re.DOTALL | re.IGNORECASE
)
_BLOCK = re.compile(
    r"</?(?:p|div|br|li|ul|ol|tr|table|h[1-6]|section|article|blockquote|pre|hr|title)(?:\s[^<>]*)?/?>", re.IGNORECASE
)
_TAG = re.compile(r"</?[a-zA-Z][a-zA-Z0-9-]{0,20}(?:\s[^<>]*)?/?>")
_MARKDOWN = (
    (re.compile(r"!?\[([^\[\]\n]*)\]\([^()\s]*\)"), r"\1"),
    (re.compile(r"^[^\S\n]{0,8}(?:#{1,6}\s|>\s?|[-*+•]\s|```\w*\s*$|(?:[-=*_]\s?){3,}$)", re.MULTILINE), "\n"),
    (re.compile(r"(\*\*|__|~~|`)(?=\S)(.+?)(?<=\S)\1"), r"\2"),
    (re.compile(r"(?<!\w)[*_](?=\S)([^*_\n]+)(?<=\S)[*_](?!\w)"), r"\1"),
)
_SPACES = re.compile(r"[^\S\n]+")

#: A full stop after one of these ends no sentence.
_ABBREVIATIONS = """
    mr mrs ms dr prof sr jr st vs etc e.g i.e cf al fig no nos vol pp p approx inc ltd co corp gen col lt sgt rev
    hon jan feb mar apr jun jul aug sep sept oct nov dec u.s u.k a.m p.m z.b d.h u.a bzw ca nr usw evtl ggf inkl mio
    mrd tel str hr fr abs m mme mlle mm env ex av art sra srta ud uds dña pág núm sig dott ing tzn np ul г ул т.е
    т.д
"""
_END = re.compile(
    r"[.!?…]+[\"'”’»)\]]*(?=\s)"  # Latin and its likes: needs a space after it
    r"|[。！？｡]+[”’」』）]*"  # Chinese and Japanese: none
    r"|[।॥؟۔]+(?=\s|$)"  # Hindi, Arabic, Urdu
)
_NO_END = frozenset(_ABBREVIATIONS.split())
_LAST_WORD = re.compile(r"([^\s(\"“'«]+)$")


def clean(text: str) -> str:
    """The text a person sees: no HTML tags, comments, entities or Markdown marks; paragraphs keep their own lines."""
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\u200b", "").replace("\ufeff", "")
    if "<" in text:
        text = _TAG.sub("", _BLOCK.sub("\n", _HIDDEN.sub(" ", text)))
    if "&" in text:
        text = html.unescape(text)
    for pattern, replacement in _MARKDOWN:
        text = pattern.sub(replacement, text)
    return "\n".join(line.strip() for line in _SPACES.sub(" ", text).split("\n")).strip()


def sentences(text: str) -> list[str]:
    """The sentences of a cleaned text, in order, none empty.

    A line break ends a sentence unless the next line begins in lower case, as hard-wrapped mail does.
    """
    found: list[str] = []
    for block in _unwrap(text):
        start = 0
        for end in _END.finditer(block):
            if _is_end(block, end):
                found.append(block[start : end.end()].strip())
                start = end.end()
        found.append(block[start:].strip())
    return [sentence for sentence in found if sentence]


def _unwrap(text: str) -> list[str]:
    blocks: list[str] = []
    joinable = False
    for line in text.split("\n"):
        if line and joinable and line[0].islower():
            blocks[-1] += " " + line
        elif line:
            blocks.append(line)
        joinable = bool(line) and line[-1] not in ".!?:…。"
    return blocks


def _is_end(block: str, end: re.Match[str]) -> bool:
    following = block[end.end() : end.end() + 20].lstrip()
    if following[:1].islower():  # '"Never again!" said the mayor.'
        return False
    if not end.group().startswith("."):
        return True
    before = _LAST_WORD.search(block, max(0, end.start() - 20), end.start())
    if before is None:
        return True
    word = before[1]
    if word.isdigit():  # an ordinal: "am 3. Mai", "1. First step"
        return len(word) > 2 or not following[:1].isalpha()
    is_initial = len(word) == 1 and word.isupper() and following[:1].isupper()
    return not is_initial and word.casefold() not in _NO_END


def shorten(text: str, limit: int) -> str:
    """At most ``limit`` characters of a text, cut at a clause or a word, with an ellipsis where it was cut."""
    if len(text) <= limit:
        return text
    if limit < 8:
        return text[:limit].strip() or text[:limit]
    room = text[: limit - 1]
    for marks in ("。；;", "，、,:–—", " "):
        cut = max(room.rfind(mark) for mark in marks)
        if cut >= limit * 0.6:
            return room[:cut].rstrip(" ,;:–—，、；") + "…"
    return room.rstrip() + "…"
