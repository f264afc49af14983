"""Which of a list of values fits a text: word overlap with the value and with what the prompt says of it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence

from llmbatch.extract.document import Document
from llmbatch.extract.words import content_stems, words
from llmbatch.types import Json

_CUE = re.compile(r"[,;.()/|“”\"]|\s(?:or|and|oder|ou|o)\s")
_OPENING = 15  #: content words in which a match counts half as much again: a subject line, a first sentence
_ENOUGH = 0.6  #: share of a cue's words that must be there
_CLOSE = 0.45  #: share of the best score from which another value is chosen too
_REST = ("other", "others", "unknown", "none", "n/a", "misc", "general")  #: chosen when no other value matches
_MIDDLE = ("normal", "medium", "neutral", "standard")  #: chosen likewise, but may match by themselves

Scores = list[tuple[Json, float]]  #: values with their scores, best first


def scores(values: Sequence[Json], definitions: Mapping[str, str], document: Document) -> Scores:
    """The values, best first, ties in the schema's order; a value that says "anything else" leads when nothing matches.

    A value's cues are its own words, which count double, and the parts between commas of its definition. A cue that
    several definitions share is worth less. A cue of function words alone ("how do I") must stand in the text as it is.
    """
    cues = {str(value): _cues(str(value), definitions) for value in values}
    shared = Counter(cue for own in cues.values() for cue in own)
    sayings = {cue[0] for cue in shared if cue[0].startswith(" ") and cue[0] in f" {' '.join(words(document.text))} "}
    opening, whole = set(document.stems[:_OPENING]), sayings.union(document.stems)
    found: Scores = []
    for value in values:
        own = {} if str(value).casefold() in _REST else cues[str(value)]
        total = sum(weight * _match(cue, opening, whole) / shared[cue] for cue, weight in own.items())
        found.append((value, total))
    found.sort(key=lambda pair: (-pair[1], not _is_fallback(pair[0])))
    return found


def chosen(ranked: Scores, least: int, most: int) -> list[Json]:
    """The values whose scores come near the best, at least ``least`` and at most ``most`` of them."""
    best = ranked[0][1]
    near = [value for value, score in ranked if score > 0 and score >= _CLOSE * best]
    count = max(least, min(len(near) or 1, most))
    return [value for value, _ in ranked[:count]]


def certainty(definitions: Mapping[str, str], document: Document) -> float:
    """0.5 to 1: how much of what the prompt defines the text mentions; 0.5 without definitions."""
    ranked = scores(list(definitions), definitions, document)
    return round(1 - 0.5 / (1 + ranked[0][1]), 2) if ranked else 0.5


def mentions(name: str, definitions: Mapping[str, str], document: Document) -> bool:
    """Whether a text speaks of what a yes-or-no field such as ``is_refund`` asks for."""
    name = re.sub(r"^(?:is|has|was|needs|wants|contains|mentions)_", "", name)
    return scores([name], definitions, document)[0][1] > 0


def _cues(value: str, definitions: Mapping[str, str]) -> dict[tuple[str, ...], float]:
    parts = {stems: 1.0 for part in _CUE.split(definitions.get(value.casefold(), "")) if (stems := _stems(part))}
    return parts | ({own: 2.0} if (own := _stems(value.replace("_", " ").replace("-", " "))) else {})


def _stems(part: str) -> tuple[str, ...]:
    """The distinct stems of a cue; of function words alone, the words as they stand, between spaces."""
    stems = tuple(dict.fromkeys(content_stems(part)))
    return stems or ((f" {' '.join(words(part))} ",) if len(words(part)) > 1 else ())


def _match(cue: tuple[str, ...], opening: set[str], whole: set[str]) -> float:
    share = sum(stem in whole for stem in cue) / len(cue)
    if share < _ENOUGH:
        return 0.0
    return float(share**2 * len(cue) ** 0.5 * (1.5 if opening.issuperset(cue) else 1))


def _is_fallback(value: Json) -> bool:
    return str(value).casefold() in (*_REST, *_MIDDLE)
