"""From an answer's text to a JSON value, mending what can be mended without guessing."""

from __future__ import annotations

import re

import orjson

from llmbatch.reply import loads
from llmbatch.types import Json

_FENCE = re.compile(r"```\w*")
_OPENING = re.compile(r"[{\[]")
#: Strings in either quote, to the text's end when unterminated; outside of them, brackets.
_TOKEN = re.compile(r"""("(?:[^"\\]++|\\.)*+"?|'(?:[^'\\]++|\\.)*+'?)|[{}\[\]]""", re.DOTALL)
#: No value of these words is what the model meant; json_repair would make text of them.
_NO_VALUE = re.compile(r"\b(?:nan|inf|infinity|undefined)\b|\.\.\.|…", re.IGNORECASE)
_MENDABLE = 50_000  #: characters; json_repair needs up to 4 us for each of them


def parse(text: str) -> tuple[Json, bool]:
    """The answer's JSON value, and whether it was mended to get it.

    A Markdown fence around the whole answer is not counted as mending. Prose around one whole value is cut
    off, and json_repair mends that value (trailing commas, bare or single-quoted keys, comments, quotes inside
    of strings). An answer that stops before its brackets close is never completed, because a cut text would
    pass for a whole one. A key that occurs twice in an object makes the answer unusable: which value was meant
    is unknown, and JSON readers keep the last one without a word.

    Raises:
        ValueError: no usable JSON value; the message is for the model and for people.
    """
    text = _unfenced(text)
    try:
        value, mended = loads(text), False
    except ValueError:
        text = _only_value(text)
        value, mended = _mended(text), True
    _refuse_duplicates(text, value)
    return value, mended


def _unfenced(text: str) -> str:
    text = text.strip()
    if text.startswith("```") and text.endswith("```") and (fence := _FENCE.match(text)):
        return text[fence.end() : -3]
    return text


def _only_value(text: str) -> str:
    """The one object or array in a text, from its first bracket to the one that closes it."""
    if len(text) > _MENDABLE:
        raise ValueError("the answer is not JSON")
    opening = _OPENING.search(text)
    if opening is None:
        raise ValueError("the answer holds no JSON")
    start, end = opening.start(), _end(text, opening.start())
    if _OPENING.search(text, end):
        raise ValueError("the answer holds more than one JSON value")
    return text[start:end]


def _end(text: str, start: int) -> int:
    depth = 0
    for token in _TOKEN.finditer(text, start):
        if token[1]:
            continue
        depth += 1 if token[0] in "{[" else -1
        if depth == 0:
            return token.end()
    raise ValueError("the answer ends before its JSON does")


def _mended(text: str) -> Json:
    try:
        return loads(text)
    except ValueError as error:
        problem = f"the answer is not JSON: {error}"
    from json_repair import repair_json  # 40 ms that most runs never need

    if _NO_VALUE.search(_TOKEN.sub(" ", text)):
        raise ValueError(problem)
    try:
        return loads(repair_json(text, skip_json_loads=True))
    except Exception:  # noqa: BLE001 - what the repairer makes of a model's text may break its own assumptions
        raise ValueError(problem) from None


def _refuse_duplicates(text: str, value: Json) -> None:
    """Compare colons: a dropped member takes its colon with it, and those inside of strings stay on both sides."""
    if type(value) is dict and text.count(":") == len(value):
        return  # each member has its own: the usual case, in a tenth of the time
    escaped = text.count(r"\u003a") + text.count(r"\u003A")
    try:
        kept = orjson.dumps(value).count(b":")
    except TypeError:  # orjson writes fewer levels than it reads
        raise ValueError("the answer is nested more than 254 levels deep") from None
    if text.count(":") + escaped > kept:
        raise ValueError("a key occurs twice in one object")
