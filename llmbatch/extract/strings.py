"""A text for a string field: summary, headline, key phrase, or a value of a format or pattern."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator, Mapping
from datetime import date, datetime, time
from ipaddress import IPv4Address, IPv6Address
from itertools import chain, islice

from llmbatch.extract import pattern
from llmbatch.extract.document import NO_TEXT, Document
from llmbatch.extract.text import shorten
from llmbatch.extract.words import guess_language
from llmbatch.types import Json

_HEADLINES = frozenset({"title", "headline", "heading", "subject"})
_PHRASES = frozenset(
    {"name", "label", "topic", "topics", "category", "keyword", "keywords", "tag", "tags", "phrase", "entity"}
)
_LANGUAGES = frozenset({"language", "lang", "locale"})
_SUMMARY, _HEADLINE, _PHRASE = 400, 80, 60  #: characters where the schema names no limit
_UNBOUNDED = 1_000_000

_MAIL = r"(?<![\w.+-])[A-Za-z0-9_+-]+(?:\.[A-Za-z0-9_+-]+)*@(?:[A-Za-z0-9-]+\.)+[A-Za-z]{2,24}"
_WEB = r"https?://[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*(?:/[\w~/-]*)?"
#: format: (what it looks like in a text, a value where the text has none)
_FORMATS: dict[str, tuple[str, str]] = {
    "date": (r"\b\d{4}-\d\d-\d\d\b", "2000-01-01"),
    "date-time": (r"\b\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:[Zz]|[+-]\d\d:\d\d)", "2000-01-01T00:00:00Z"),
    "time": (r"(?<![\dTt:-])\d\d:\d\d:\d\d(?:[Zz]|[+-]\d\d:\d\d)", "00:00:00Z"),
    "duration": (r"\bP\d+[DWMY]\b|\bPT\d+[HMS]\b", "P1D"),
    "email": (_MAIL, "nobody@example.com"),
    "idn-email": (_MAIL, "nobody@example.com"),
    "hostname": (r"\b[a-z0-9][a-z0-9-]{0,60}(?:\.[a-z0-9][a-z0-9-]{0,60})*\.[a-z]{2,24}\b", "example.com"),
    "uri": (_WEB, "https://example.com/"),
    "uri-reference": (_WEB, "/"),
    "iri": (_WEB, "https://example.com/"),
    "uuid": (r"\b[\da-fA-F]{8}-(?:[\da-fA-F]{4}-){3}[\da-fA-F]{12}\b", "00000000-0000-4000-8000-000000000000"),
    "ipv4": (r"(?<![\d.])\d{1,3}(?:\.\d{1,3}){3}(?![\d.])", "192.0.2.1"),
    "ipv6": (r"(?<![\w:])[\da-fA-F]{0,4}(?::[\da-fA-F]{0,4}){2,7}(?![\w:])", "2001:db8::1"),
    "json-pointer": (r"(?!)", "/"),
    "regex": (r"(?!)", ".*"),
}  # fmt: skip
_PARSERS = {
    "date": date.fromisoformat, "date-time": datetime.fromisoformat, "time": time.fromisoformat,
    "uuid": uuid.UUID, "ipv4": IPv4Address, "ipv6": IPv6Address,
}  # fmt: skip


def string(schema: Mapping[str, Json], name: str, document: Document, *, place: int = 0, tries: int = 0) -> str:
    """A string for a field. ``place`` asks for another one of several; ``tries`` for a shorter one.

    Bounds are kept; a pattern as far as :func:`llmbatch.extract.pattern.build` goes.
    """
    found = islice(located(schema, document), place, None)
    if is_located(schema) and (value := next(found, None) or _constant(schema)) is not None:
        return value
    least, most = _lengths(schema)
    return _padded(_prose(schema, name, document, place, tries), least, most)


def is_located(schema: Mapping[str, Json]) -> bool:
    """Whether the value is one to be found in the text (a date, an order number) and not one to be written."""
    return schema.get("format") in _FORMATS or "pattern" in schema


def located(schema: Mapping[str, Json], document: Document) -> Iterator[str]:
    """The values in the text that have the schema's format, pattern and length, distinct, in order."""
    looks = _FORMATS.get(schema.get("format", ""))
    accept = schema.get("pattern", "")
    whole = pattern.search(looks[0], document.text) if looks else iter(())
    fitting = whole if looks else chain(document.phrases, document.sentences, pattern.search(accept, document.text))
    least, most = _lengths(schema)
    seen = set()
    for value in fitting:
        allowed = least <= len(value) <= most and _parses(value, schema.get("format", "")) and _accepts(accept, value)
        if allowed and value not in seen:
            seen.add(value)
            yield value


def _constant(schema: Mapping[str, Json]) -> str | None:
    if schema.get("format") in _FORMATS:
        return _FORMATS[schema["format"]][1]
    return pattern.build(schema["pattern"], *_lengths(schema))


def _prose(schema: Mapping[str, Json], name: str, document: Document, place: int, tries: int) -> str:
    words = set(re.split(r"[_\W]+", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).casefold()))
    limit = schema.get("maxLength")
    if words & _LANGUAGES:
        return guess_language(document.text)
    if words & _HEADLINES:
        return document.headline(min(limit or _HEADLINE, _HEADLINE), tries)
    if words & _PHRASES or (limit is not None and limit <= _PHRASE):
        phrases = document.phrases or [document.key_sentence()]
        again = "" if place < len(phrases) else f" {place // len(phrases) + 1}"
        return shorten(phrases[place % len(phrases)], min(limit or _PHRASE, _PHRASE)) + again
    if place:
        return document.key_sentence(place)
    return document.summary(min(limit or _SUMMARY, _SUMMARY), tries)


def _padded(text: str, least: int, most: int) -> str:
    """At least ``least`` characters, by saying it again, and at most ``most``."""
    text = shorten(text, most) if text else NO_TEXT[:most]
    if len(text) < least:
        text = (f"{text} " * (least // (len(text) + 1) + 1))[:least]
    return text


def _lengths(schema: Mapping[str, Json]) -> tuple[int, int]:
    return int(schema.get("minLength", 0)), int(schema.get("maxLength", _UNBOUNDED))


def _parses(value: str, form: str) -> bool:
    if form not in _PARSERS:
        return True
    try:
        _PARSERS[form](value)
    except ValueError:
        return False
    return True


def _accepts(accept: str, value: str) -> bool:
    try:
        return re.search(accept, value, re.ASCII) is not None
    except re.error:
        return False
