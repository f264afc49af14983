"""Answer a request without a model: an extractive summariser and keyword tagger. Pure.

What it writes stands in the text: whole sentences (TextRank), key phrases (RAKE), values of an enum by word overlap.
It follows the request's JSON Schema and its definitions of names, but it cannot follow instructions: it is a
stand-in for trying out pipelines, for rehearsals and for tests.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from llmbatch.extract import dialog, fill
from llmbatch.extract.tokens import count_tokens, cut_to_tokens
from llmbatch.types import Json, Message

__all__ = ["answer", "count_tokens", "cut_to_tokens"]


def answer(messages: Sequence[Message], schema: Mapping[str, Json]) -> dict[str, Json]:
    """Answer a conversation with an object that obeys a JSON Schema (see :class:`llmbatch.extract.fill.Filler`).

    The text is what stands between ``<text>`` and ``</text>`` in the last user message, or all of that message. Prompt
    lines such as ``- billing: invoice, charge`` say what a value of an enum means. When an earlier answer is in
    the conversation, the new one is shorter. Takes about 1 ms per 1,000 characters; never raises for want of words.
    """
    return fill.answer(dialog.read(messages), schema)
