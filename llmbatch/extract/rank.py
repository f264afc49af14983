"""Which sentences carry a text: TextRank."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence

from llmbatch.extract.words import content_stems

_DAMPING = 0.85
_ROUNDS = 12  #: the order of sentences settles long before the ranks do
_LEAD = 1.5  #: how much more the first sentence counts than a late one
_GOOD_LENGTH = 8  #: content words from which a sentence can stand alone
_LONG = 32  #: content words from which it hides more than it tells


def rank(sentences: Sequence[str]) -> list[float]:
    """A weight for each sentence, higher is more central; all 0 for a text without words.

    TextRank (Mihalcea & Tarau 2004, "TextRank: Bringing Order into Texts"): PageRank over sentences that are linked
    by similarity, here the cosine of their idf-weighted stems. The similarity matrix is never built: a round
    multiplies by the sentence-by-stem matrix and by its transpose, so the time grows with the text's length alone.
    Two priors follow: earlier sentences count more, very short and very long ones less.
    """
    stems = [content_stems(sentence) for sentence in sentences]
    vectors = _unit_vectors(stems)
    central = _page_rank(vectors)
    return [
        score * (1 + _LEAD / (1 + place)) * _length_prior(len(own))
        for place, (score, own) in enumerate(zip(central, stems, strict=True))
    ]


def _unit_vectors(stems: list[list[str]]) -> list[dict[str, float]]:
    spread = Counter(stem for own in stems for stem in set(own))
    idf = {stem: math.log(1 + len(stems) / count) for stem, count in spread.items()}
    vectors = []
    for own in stems:
        weights = {stem: count * idf[stem] for stem, count in Counter(own).items()}
        norm = math.sqrt(sum(weight * weight for weight in weights.values()))
        vectors.append({stem: weight / norm for stem, weight in weights.items()})
    return vectors


def _page_rank(vectors: list[dict[str, float]]) -> list[float]:
    count = len(vectors)
    #: a sentence's links to the others; its product with itself is 1 and is taken out
    links = [max(out - 1, 0.0) for out in _similar(vectors, [1.0] * count)]
    ranks = [1.0 if vector else 0.0 for vector in vectors]
    for _ in range(_ROUNDS if count > 1 else 0):
        shares = [rank / out if out > 1e-9 else 0.0 for rank, out in zip(ranks, links, strict=True)]
        flows = _similar(vectors, shares)
        ranks = [
            (1 - _DAMPING + _DAMPING * max(flow - share, 0.0)) if vector else 0.0
            for flow, share, vector in zip(flows, shares, vectors, strict=True)
        ]
    return ranks


def _similar(vectors: list[dict[str, float]], weights: list[float]) -> list[float]:
    """For each sentence, the weighted sum of its similarities to all sentences, itself included."""
    totals: defaultdict[str, float] = defaultdict(float)
    for vector, weight in zip(vectors, weights, strict=True):
        for stem, value in vector.items():
            totals[stem] += value * weight
    return [sum(value * totals[stem] for stem, value in vector.items()) for vector in vectors]


def _length_prior(content_words: int) -> float:
    if content_words > _LONG:
        return _LONG / content_words
    return min(1.0, (content_words + 1) / (_GOOD_LENGTH + 1))
