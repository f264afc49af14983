"""The frozen nouns of llmbatch, and the protocols between its parts.

Words (the same in code, SQL, command line and README):

row       one input record, with its 0-based ``row_no``
request   exactly what is sent for a row; its ``key`` is the SHA-256 of its canonical JSON body
attempt   one call made for a request; append-only, failed and invalid ones are kept too
reply     the raw answer of an attempt
verdict   what the judge says of a reply
output    the validated value of a row
outcome   how a row ended: exactly one a row
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import field, replace
from decimal import Decimal
from enum import StrEnum
from typing import Any, Protocol, TypeAlias

from llmbatch.noun import noun

Json: TypeAlias = Any  #: None, bool, int, float, str, list or dict, as orjson reads them
Message: TypeAlias = Mapping[str, str]  #: {"role": ..., "content": ...}


#: what providers call the standard service tier
STANDARD = frozenset({"standard", "default", "auto", "on_demand"})


class Status(StrEnum):
    """How a row ended in a run."""

    DONE = "done"  #: answered by an attempt this run paid for
    REUSED = "reused"  #: a reply that was stored before serves it
    FAILED = "failed"  #: no valid reply; class and reason say why
    SKIPPED = "skipped"  #: left out by a rule on the input; the reason says which
    PENDING = "pending"  #: the run stopped first

    __hash__ = str.__hash__  #: Enum's own is a function in Python, and rows are counted by status


@noun(frozen=True, slots=True)
class Row:
    """One input record."""

    row_no: int  #: 0-based, over all files of the input, in order; below zero for gold rows, which are none of it
    columns: dict[str, Json]  #: the record; empty when ``problem`` is set
    file: str  #: the file's path as the user gave it
    line: int  #: 1-based line (JSONL) or 1-based row (Parquet) within that file
    problem: str | None = None  #: why the line could not be read (only under --skip-bad-rows)

    @property
    def place(self) -> str:
        """Where the row stands, for a person: ``tickets.jsonl:17``."""
        return f"{self.file}:{self.line}"


@noun(frozen=True, slots=True)
class Request:
    """What is sent for a row. Everything in it that can change the answer is in ``key``."""

    key: str  #: SHA-256 (64 hex digits) of the canonical JSON of model, messages, params, response format
    row_no: int  #: the row it is asked for (not in the key)
    model: str
    messages: tuple[Message, ...]  #: system (if any) and user
    params: Mapping[str, Json]  #: sampling parameters as the API names them
    schema: Mapping[str, Json]  #: JSON Schema of the output (type object)
    turns: tuple[Message, ...] = ()  #: added by re-asks: the invalid answer, then its problems; not in the key
    attempts_used: int = 0  #: attempts already made for this key; waiting out a 429 is none
    tier: str | None = None  #: the service tier asked for; not in the key

    def reask(self, turns: tuple[Message, ...], attempts_used: int) -> Request:
        """The same request, asked again with what was wrong; the key stays."""
        return replace(self, turns=turns, attempts_used=attempts_used)


@noun(frozen=True, slots=True)
class Usage:
    """Tokens as the provider counted them."""

    input: int  #: all prompt tokens, cached ones included
    output: int  #: all completion tokens, reasoning ones included
    cached: int = 0  #: the part of ``input`` read from the provider's cache
    cache_write: int = 0  #: the part of ``input`` written to the provider's cache
    reasoning: int = 0  #: the part of ``output`` spent on reasoning


@noun(frozen=True, slots=True)
class Reply:
    """A raw answer and what its envelope says. Nothing is judged here."""

    raw: str  #: the whole body as it came
    text: str | None  #: the assistant's message content; None if there is none
    finish_reason: str | None
    refusal: str | None
    usage: Usage | None  #: None when missing or absurd
    model: str | None  #: as returned, which may differ from the one asked
    tier: str | None  #: service tier as returned
    fingerprint: str | None = None  #: system_fingerprint as returned
    tool_calls: bool = False  #: the message carried tool calls
    http_status: int = 200
    latency_s: float = 0.0  #: from sending to the last byte
    headers: Mapping[str, str] = field(default_factory=dict)  #: lower-case names; rate limits only
    number: int = 0  #: which attempt of its key brought it, 1-based; 0 until recorded
    seq: int = -1  #: the attempt's place in the ledger; -1 until recorded
    cost_usd: Decimal | None = None  #: None until recorded, and when no price or no usage is known

    def arrived(self, http_status: int, latency_s: float, headers: Mapping[str, str]) -> Reply:
        """The same reply, with how it came."""
        return replace(self, http_status=http_status, latency_s=latency_s, headers=headers)


@noun(frozen=True, slots=True)
class Attempt:
    """One call made for a request. Every attempt is kept, because every attempt may cost money."""

    key: str
    row_no: int
    number: int  #: 1-based within its key; a 429 that was waited out has the number of the attempt it delayed
    asked_at: float  #: seconds since the epoch
    latency_s: float
    outcome: str  #: answered, rate_limited, timeout, transient, rejected or refused
    http_status: int | None
    reason: str | None  #: the provider's words, scrubbed; None when answered
    failure: str | None  #: the class a row fails with for this; None when answered
    reply: Reply | None
    cost_usd: Decimal | None  #: None when no price is known or no usage came back
    possibly_paid: bool = False  #: sent, and nothing usable came back: the provider may bill it
    worst_usd: Decimal | None = None  #: the most that it can have cost, if it is possibly paid; None when unknown
    model: str | None = None  #: as asked, where there is more than one


@noun(frozen=True, slots=True)
class Verdict:
    """What the judge says of one reply to one row."""

    output: dict[str, Json] | None  #: the validated value; None when invalid
    failure: str | None = (
        None  #: class of the failure: truncated, refusal, content_filter, empty, not_json, schema, check, check_error
    )
    problems: tuple[str, ...] = ()  #: readable, one a problem; sent back in a re-ask
    repaired: bool = False  #: the JSON was mended before it was read

    @property
    def valid(self) -> bool:
        """Whether the reply may serve the row."""
        return self.failure is None


@noun(frozen=True, slots=True)
class Rung:
    """What became of a row at one model of its ladder."""

    model: str  #: as asked
    key: str  #: of the request to it
    seq: int | None  #: the last attempt that was looked at; None when none is stored
    failure: str | None  #: class for which the row went on to the next model, or failed; None: it was served here
    reason: str | None
    cost_usd: Decimal | None  #: of the replies that were looked at, whenever they were paid; None when one is unknown


@noun(frozen=True, slots=True)
class Outcome:
    """How a row ended. Exactly one a row and run."""

    row_no: int
    status: Status
    row_id: str | None = None  #: the row's id as text, where the pipeline names an id column
    key: str | None = None  #: None when no request could be made of the row
    seq: int | None = None  #: the attempt that served it, or the last invalid one
    failure: str | None = None  #: class of a failed or skipped row
    reason: str | None = None  #: one line for a person
    repaired: bool = False
    rungs: tuple[Rung, ...] = ()  #: with a ladder: each model that the row came to, in their order


class Provider(Protocol):
    """What answers requests. Wrappers have the same shape, so that concerns stack."""

    async def call(self, request: Request) -> Reply:
        """Ask once.

        Raises a subclass of :class:`llmbatch.errors.Decision` when no reply came; nothing else.
        """
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...


class Observer(Protocol):
    """Who watches a run: progress displays, the status file, tests. Must not raise or block."""

    def planned(self, total: int) -> None:
        """The input was read once: so many rows."""

    def attempted(self, attempt: Attempt) -> None:
        """A call ended and is on its way to the ledger."""

    def judged(self, reply: Reply, verdict: Verdict) -> None:
        """A reply that this run paid for has its verdict."""

    def finished(self, outcome: Outcome, reply: Reply | None) -> None:
        """A row has its outcome; ``reply`` is the one that serves it, if any."""

    def failed(self, outcome: Outcome, place: str, problem: Callable[[], str]) -> None:
        """A row failed or was skipped; ``problem`` gives the reason without the row's text, when it is asked for."""

    def noted(self, message: str) -> None:
        """Something a person should know, once: a fallback, a pause, a change of limits."""
