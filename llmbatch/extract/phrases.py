"""Key phrases of a text: RAKE."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator

from llmbatch.extract.stopwords import ALL_STOPWORDS
from llmbatch.extract.words import UNSPACED, stem

_SPAN = re.compile(rf"[{UNSPACED}]+|[^\W_{UNSPACED}]+(?:['’.@&/+#-][^\W_{UNSPACED}]+)*|\S")
_UNSPACED_RUN = re.compile(f"[{UNSPACED}]")
_PARTICLES = re.compile("[的了是在和与及对将把被也都就而或我你他她它们这那有不为于从\u3041-\u309f]+")
_LONGEST = 3  #: words in a phrase


def phrases(text: str, most: int = 30) -> list[str]:
    """The text's key phrases, best first, as the text writes them, distinct by their stems.

    RAKE (Rose, Engel, Cramer & Cowley 2010, "Automatic keyword extraction from individual documents"): candidates
    are runs of words between function words and punctuation, a word scores its degree over its frequency, a
    phrase the sum over its words. Here a phrase has at most three words, and those said again count more.
    """
    candidates = [tuple(run) for run in _runs(text)]
    frequency: Counter[str] = Counter()
    degree: defaultdict[str, int] = defaultdict(int)
    for run in candidates:
        for word in run:
            frequency[stem(word.casefold())] += 1
            degree[stem(word.casefold())] += len(run)
    scores: defaultdict[tuple[str, ...], float] = defaultdict(float)
    spelling: dict[tuple[str, ...], str] = {}
    for run in candidates:
        stems = tuple(stem(word.casefold()) for word in run)
        first = 1.0 if stems not in scores else 0.5  # said again: half its worth more
        scores[stems] += first * sum(degree[s] / frequency[s] for s in stems)
        spelling.setdefault(stems, " ".join(run))
    order = sorted(scores, key=lambda stems: -scores[stems])  # stable: ties in the order of the text
    return [spelling[stems] for stems in order[:most]]


def _runs(text: str) -> Iterator[list[str]]:
    run: list[str] = []
    for token in _SPAN.findall(text):
        if _UNSPACED_RUN.match(token):
            yield from ([piece[:8]] for piece in _PARTICLES.split(token) if len(piece) > 1)
        is_word = len(token) > 1 and token[0].isalnum() and not _UNSPACED_RUN.match(token)
        if is_word and token.casefold() not in ALL_STOPWORDS and not token.isdecimal():
            run.append(token)
            continue
        yield from _pieces(run)
        run = []
    yield from _pieces(run)


def _pieces(run: list[str]) -> Iterator[list[str]]:
    for start in range(0, len(run), _LONGEST):
        yield run[start : start + _LONGEST]
