"""How near two texts are by a model's embeddings of them."""

from __future__ import annotations

import base64
import binascii
import math
import struct
from collections.abc import Sequence

from llmbatch.types import Json

#: of the reply to an embedding, as reply.py reads it
SCHEMA: dict[str, Json] = {
    "type": "object",
    "properties": {
        "embedding": {"type": ["string", "array"], "minItems": 1, "minLength": 8, "items": {"type": "number"}}
    },
    "required": ["embedding"],
}


def cosine(one: Sequence[float], two: Sequence[float]) -> float | None:
    """The cosine of the angle between two embeddings, from 0 (nothing in common, or opposed) to 1.

    G. Salton, A. Wong, C. S. Yang, A vector space model for automatic indexing, CACM 18 (1975) 613-620. None when they
    cannot be compared: other lengths, no length, no numbers.
    """
    if len(one) != len(two):
        return None
    lengths = math.hypot(*one) * math.hypot(*two)
    if not lengths or not math.isfinite(lengths):
        return None
    return min(1.0, max(0.0, math.fsum(a * b for a, b in zip(one, two, strict=True)) / lengths))


def vector(embedding: Json) -> tuple[float, ...]:
    """The numbers of an embedding: a list, or base64 of little-endian 32-bit floats. Empty when it is neither."""
    if isinstance(embedding, list):
        return tuple(map(float, embedding))
    try:
        raw = base64.b64decode(embedding, validate=True)
        return struct.unpack(f"<{len(raw) // 4}f", raw)
    except (binascii.Error, struct.error, TypeError):
        return ()
