"""A line of a batch's output or error file, read: an attempt, or a request that was never tried."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import orjson

from llmbatch.errors import Decision, Refused
from llmbatch.ledger import BatchRequest
from llmbatch.providers.echo import without_echo
from llmbatch.providers.openai import decide, shown, words_of
from llmbatch.reply import BrokenReply, parse_reply
from llmbatch.types import STANDARD, Attempt, Json, Reply, Request

_KEY = re.compile(r"[0-9a-f]{64}")
_CANCELLED = "batch_cancelled"
_NEVER_TRIED = frozenset({"batch_expired", _CANCELLED})
BATCH = "batch"  #: the tier of an answer out of a batch, unless it names another than the usual one


@dataclass(frozen=True, slots=True)
class Line:
    """A line of one of the two files."""

    key: str  #: its custom_id
    status: int | None  #: HTTP status of the row; None when it was never tried
    body: Json  #: a chat completion or an error
    error: str | None  #: code of a row that has no response

    @property
    def never_tried(self) -> bool:
        """The batch ended before the row."""
        return self.status is None and self.error in _NEVER_TRIED

    @property
    def cancelled(self) -> bool:
        """That was because somebody cancelled it."""
        return self.status is None and self.error == _CANCELLED


@dataclass(frozen=True, slots=True)
class Times:
    """When a batch was created and ended, by the provider's clock."""

    made_at: float
    took_s: float


def read(raw: bytes) -> Line | None:
    """None when it is no line of a batch's file: cut, or of somebody else."""
    try:
        line = orjson.loads(raw)
        response, error = line.get("response"), line.get("error")
        key = line["custom_id"]
    except (ValueError, AttributeError, KeyError, TypeError):
        return None
    if not isinstance(key, str) or not _KEY.fullmatch(key):
        return None
    if not isinstance(response, dict):
        code = error.get("code") if isinstance(error, dict) else None
        return Line(key, None, error, str(code or "unknown"))
    body = response.get("body")
    if isinstance(body, str):
        body = _loaded(body)
    status = response.get("status_code")
    return Line(key, status if type(status) is int else 200, body, None)


def _loaded(text: str) -> Json:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return text


def reply_of(line: Line, hidden: Callable[[str], str]) -> Reply:
    """The reply in a line of status 200, at the tier that it costs. Raises BrokenReply."""
    raw = line.body if isinstance(line.body, str) else orjson.dumps(line.body).decode()
    reply = parse_reply(hidden(raw))
    tier = BATCH if reply.tier is None or reply.tier in STANDARD else reply.tier
    return replace(reply, tier=tier, http_status=200)


def decision_of(line: Line, request: BatchRequest) -> tuple[type[Decision], str | None, str]:
    """What a row's refusal means: the decision, its class where that is not the decision's own, words for a person.

    The words are without what they quote of the row.
    """
    status = line.status or 500
    kind, failure = decide(status, {}, line.body)
    words = without_echo(shown(words_of(status, {}, line.body)), as_asked(request))
    return kind, failure, f"status {status}, in a batch: {words[:250]}"


def as_asked(request: BatchRequest) -> Request:
    """As much of the request as its line in the upload tells: model, messages, all of them turns but the user's own."""
    body = orjson.loads(request.body)["body"]
    messages = body["messages"]
    user = next(message for message in messages if message["role"] == "user")
    return Request(request.key, request.row_no, body.get("model", ""), (user,), {}, {}, turns=tuple(messages))


def attempt_of(request: BatchRequest, line: Line | None, times: Times, hidden: Callable[[str], str]) -> Attempt:
    """The attempt that a line is; without a line, of a row that may have been billed and is in no file."""
    reply: Reply | None = None
    words: dict[str, Any] = {"outcome": "answered", "http_status": 200, "reason": None, "failure": None}
    lost = line is None
    if line is not None and line.status == 200:
        try:
            reply = reply_of(line, hidden)
        except BrokenReply as error:
            words = {"outcome": "transient", "http_status": 200, "failure": "broken_reply"}
            words["reason"], lost = f"in a batch: {shown(str(error))}", True
    elif line is not None:
        kind, failure, reason = decision_of(line, request)
        outcome, failure = kind.outcome, failure or kind.failure
        words = {"outcome": outcome, "http_status": line.status, "failure": failure, "reason": reason}
    else:
        reason = "its batch ended, and no file of it has the row"
        words = {"outcome": "transient", "http_status": None, "failure": "broken_reply", "reason": reason}
    return Attempt(
        key=request.key,
        row_no=request.row_no,
        number=request.number,
        asked_at=times.made_at,
        latency_s=times.took_s,
        reply=None if reply is None else reply.arrived(200, times.took_s, {}),
        cost_usd=None,
        possibly_paid=lost,
        worst_usd=request.worst_usd if lost else None,
        **words,
    )


def refuses_all(line: Line) -> bool:
    """A refusal that means every row: a bad key, a model that is not there."""
    return line.status not in (None, 200) and issubclass(decide(line.status or 500, {}, line.body)[0], Refused)
