"""The judge: what a reply is worth to its row, and what to say when it is asked for again.

class            asked again?   what it means
truncated        yes            stopped at the token limit, even if what came parses
content_filter   no             stopped by the provider's filter
refusal          no             the model declines
empty            yes            no text, or tool calls only
not_json         yes            no JSON, or JSON that cannot be read in one way only
schema           yes            no object, or not as the schema asks
check            yes            the pipeline's check found problems
check_error      no             the check itself is at fault: asking again would cost and mend nothing
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import orjson

from llmbatch.types import Json, Message, Reply, Row, Verdict
from llmbatch.validate import answer
from llmbatch.validate.schema import MOST_PROBLEMS, cut, problems_of, validator_of

Check = Callable[[dict[str, Json], dict[str, Json]], list[str]]

#: of (output, row's columns): why an output is graded too low to stop at its model; None: it is not
Floor = Callable[[dict[str, Json], dict[str, Json]], str | None]

FLOOR = "floor"  #: why a row goes on to the next model although the answer is valid
#: failures that asking again will not mend
FINAL = frozenset({"content_filter", "refusal", "check_error"})

_CUT_SHORT = frozenset({"length", "max_tokens", "model_length"})  #: OpenAI; Anthropic's word; Mistral's
#: How a refusal in prose opens: "I'm sorry, but I can't help with ...", "I cannot assist ...", "As an AI model, I am
#: not able to provide ...". The verb matters: "I cannot determine the language" is a wrong answer, no refusal.
_REFUSAL = re.compile(
    r"(?:(?:i'm sorry|i am sorry|sorry|i apologi[sz]e|unfortunately|as an ai\b[^.,]{0,40})[,.;]? (?:but )?)?"
    r"(?:i can't|i cannot|i can not|i won't|i'm unable to|i am unable to|i'm not able to|i am not able to) "
    r"(?:assist|help|comply|fulfill?|provide|create|generate|write|discuss|engage|continue|process|do this|do that)\b"
)
_ANSWER_KEPT = 4_000  #: characters of an invalid answer that are sent back


class Judge:
    """Judges replies against one schema and one check. Keeps no state, so a verdict can always be recomputed."""

    def __init__(self, schema: Mapping[str, Json], check: Check | None, floor: Floor | None = None) -> None:
        """Take a schema that :func:`check_schema` accepts, and ``check(output, columns) -> problems``."""
        self._validator = validator_of(schema)
        self._check = check
        self._floor = floor

    def judge(self, row: Row, reply: Reply) -> Verdict:
        """Say whether a reply may serve a row. Never raises, whatever the reply and the check do."""
        verdict = _read(reply)
        if verdict.output is None:
            return verdict
        if not self._validator.is_valid(verdict.output):
            return Verdict(None, "schema", problems_of(self._validator, verdict.output), verdict.repaired)
        if self._check is None:
            return verdict
        failure, problems = _checked(self._check, verdict.output, row)
        return Verdict(None, failure, problems, verdict.repaired) if failure else verdict

    def low(self, row: Row, verdict: Verdict | None) -> str | None:
        """Why a valid answer is graded too low to stop at its model, where a ladder has another; None: it is not."""
        if self._floor is None or verdict is None or verdict.output is None:
            return None
        return self._floor(verdict.output, row.columns)


def output_of(text: str | None) -> dict[str, Json] | None:
    """The output in the text of a reply known to be valid. None if it holds no JSON object."""
    try:
        value, _ = answer.parse(text or "")
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def reask_turns(reply: Reply, verdict: Verdict) -> tuple[Message, ...]:
    """The two turns that ask again: the invalid answer (cut to 4,000 characters) and what is wrong with it."""
    text = (reply.text or "").strip()
    if len(text) > _ANSWER_KEPT:
        text = text[:_ANSWER_KEPT] + " […]"
    if verdict.failure == "truncated":
        ask = "Your answer was too long and was cut off. Answer again, much shorter, with the whole JSON object only."
    else:
        problems = "\n".join(f"- {problem}" for problem in verdict.problems)
        ask = f"Your answer is not valid:\n{problems}\nAnswer again with the corrected JSON object only, no other text."
    return {"role": "assistant", "content": text or "(no answer)"}, {"role": "user", "content": ask}


def _read(reply: Reply) -> Verdict:
    """Everything before schema and check: a verdict with an output, or with a failure."""
    text = reply.text or ""
    if stopped := _stopped(reply):
        return stopped
    try:
        value, repaired = answer.parse(text)
    except ValueError as error:
        return _invalid("refusal", f"the model refused: {text}") if _refuses(text) else _invalid("not_json", str(error))
    if not isinstance(value, dict):
        return Verdict(None, "schema", ("top level: the answer must be one JSON object",), repaired)
    return Verdict(value, repaired=repaired)


def _stopped(reply: Reply) -> Verdict | None:
    """A failure that shows before the text is read. A finish reason that is missing or unknown proves nothing."""
    if reply.finish_reason in _CUT_SHORT:
        return _invalid("truncated", f"the answer was cut off at the token limit (finish_reason {reply.finish_reason})")
    if reply.finish_reason == "content_filter":
        return _invalid("content_filter", "the provider's content filter stopped the answer")
    if reply.refusal and reply.refusal.strip():
        return _invalid("refusal", f"the model refused: {reply.refusal}")
    if reply.text is None or not reply.text.strip():
        return _invalid(
            "empty", "the answer calls a tool and has no text" if reply.tool_calls else "the answer is empty"
        )
    return None


def _invalid(failure: str, problem: str) -> Verdict:
    return Verdict(None, failure, (cut(problem),))


def _refuses(text: str) -> bool:
    """A refusal in prose. Text with a brace in it is a failed try at JSON, and worth asking again."""
    opening = text.lstrip()[:200].lower().replace("’", "'")
    return "{" not in text and _REFUSAL.match(opening) is not None


def _checked(check: Check, output: dict[str, Json], row: Row) -> tuple[str | None, tuple[str, ...]]:
    """The check's failure class and problems. It gets a copy: an output it changed would not be what is stored."""
    copy = orjson.loads(orjson.dumps(output))
    try:
        problems: Any = check(copy, row.columns)
    except Exception as error:  # noqa: BLE001 - a user's code may raise anything; it costs that row, not the run
        return "check_error", (cut(f"check raised {type(error).__name__}: {error}"),)
    if not isinstance(problems, list) or not all(isinstance(problem, str) for problem in problems):
        return "check_error", (f"check returned {type(problems).__name__}, not a list of texts",)
    return "check" if problems else None, tuple(cut(problem) for problem in problems[:MOST_PROBLEMS])
