"""Which part of a conversation is the text, and what the rest of it says."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from llmbatch.types import Message

_OPEN, _CLOSE = "<text>", "</text>"
#: "- billing: invoice, charge": what a prompt says of one value of an enum
_DEFINITION = re.compile(
    r"^\s*(?:[-*•]|\d+[.)])\s*[`\"'*]*([^\s:`\"'*][^:\n`\"'*]{0,40}?)[`\"'*]*\s*(?::|–|—)\s*(\S.*)$", re.M
)


@dataclass(frozen=True, slots=True)
class Dialog:
    """A conversation as the brain sees it."""

    text: str  #: what the answer is about
    definitions: dict[str, str]  #: explanations of names (case-folded) found in the prompt
    tries: int  #: answers given before this one


def read(messages: Sequence[Message]) -> Dialog:
    """Find the text.

    It is what stands between the last ``<text>`` of the last user message that has one and the last ``</text>`` after
    it. Without such tags it is the last user message, or the first one where an answer was given and is wanted again.
    """
    tries = sum(message["role"] == "assistant" for message in messages)
    asked = [message["content"] or "" for message in messages if message["role"] == "user"] or [""]
    tagged = [content for content in asked if _OPEN in content]
    home = tagged[-1] if tagged else asked[0 if tries else -1]
    before, text = _delimited(home) if tagged else ("", home)
    rules = [message["content"] or "" for message in messages if message["role"] in ("system", "developer")]
    return Dialog(_whole(text), _definitions([*rules, before]), tries)


def _delimited(content: str) -> tuple[str, str]:
    before, _, rest = content.rpartition(_OPEN)
    inside, close, _ = rest.rpartition(_CLOSE)
    return before, inside if close else rest


def _definitions(prompts: Iterable[str]) -> dict[str, str]:
    return {name.casefold().strip(): text for prompt in prompts for name, text in _DEFINITION.findall(prompt)}


def _whole(text: str) -> str:
    """Half surrogate pairs cannot be written as UTF-8; they become question marks."""
    return text.encode("utf-8", "replace").decode("utf-8")
