"""Where a row stands on the replies that are stored for it: with one model, or with a ladder of them. Pure.

A ladder's first model is asked first. Where its answers stay invalid, it refuses, or its valid answer is graded below a
floor, the row climbs: the next model is asked the same. What the last one answers serves, whatever its grade; where it
has no valid answer, the nearest one below that was valid does. That is a cascade with the pipeline's own judge and
graders to decide: L. Chen, M. Zaharia, J. Zou, FrugalGPT (arXiv:2305.05176), section 3.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from llmbatch.ledger import Known
from llmbatch.noun import noun
from llmbatch.types import Reply, Request, Row, Rung, Verdict
from llmbatch.validate import FINAL, FLOOR, Judge, reask_turns

#: failures with which a row goes on to the next model; others are the provider's, or would be the same there
CLIMBING = frozenset(
    {"truncated", "content_filter", "refusal", "empty", "not_json", "schema", "check", "context_length", FLOOR}
)


@noun(frozen=True, slots=True)
class Standing:
    """What is to become of a row."""

    request: Request  #: to the model where it stands
    ask: Request | None = None  #: to be sent next; None: the row has its outcome
    reply: Reply | None = None  #: that serves it, or the last invalid one
    verdict: Verdict | None = None  #: of the reply
    failure: str | None = None  #: None when a reply serves it
    reason: str | None = None
    rungs: tuple[Rung, ...] = ()  #: with a ladder: the models that it came to, as far as nothing more is asked of them


@dataclass(frozen=True, slots=True)
class Rules:
    """By what a row stands."""

    judge: Judge
    max_attempts: int  #: of a request
    retry_failed: frozenset[str] | None = None  #: classes of failed rows that are asked anew; empty means every class

    def asks_again(self, failure: str) -> bool:
        """Whether a row that failed with a class is asked anew."""
        return self.retry_failed is not None and (not self.retry_failed or failure in self.retry_failed)


def standing(row: Row, requests: Sequence[Request], stored: Mapping[str, Known], rules: Rules) -> Standing:
    """Where a row stands: served, failed, or with something to ask. ``requests`` has one for each model."""
    low: Standing | None = None  # the nearest valid answer that is graded below its floor
    rungs: list[Rung] = []
    for request in requests:
        past = stored.get(request.key) or Known()
        here, last = _at(row, request, past, rules), request is requests[-1]
        if here.ask is None and here.failure is None and not last and (under := rules.judge.low(row, here.verdict)):
            low, here = here, _failed(here, FLOOR, under)
        if len(requests) > 1 and here.ask is None:
            rungs.append(_rung(here, past))
        if here.ask is not None or here.failure is None or here.failure not in CLIMBING:
            break
    if low is not None and here.failure in CLIMBING and here.ask is None:
        here = low
    if here.failure is not None and rules.asks_again(here.failure):
        here = Standing(here.request, here.request)
    return Standing(here.request, here.ask, here.reply, here.verdict, here.failure, here.reason, tuple(rungs))


def _at(row: Row, request: Request, past: Known, rules: Rules) -> Standing:
    """Where it stands at one model."""
    last: tuple[Reply, Verdict] | None = None
    for reply in past.replies:
        verdict = rules.judge.judge(row, reply)
        if verdict.valid:
            return Standing(request, reply=reply, verdict=verdict)
        last = reply, verdict
    if past.rejection is not None:
        return Standing(request, failure=past.rejection.failure, reason=past.rejection.reason)
    if last is None:
        return Standing(request, request)
    reply, verdict = last
    if verdict.failure in FINAL or reply.number >= rules.max_attempts:
        return Standing(request, None, reply, verdict, verdict.failure, "; ".join(verdict.problems))
    return Standing(request, request.reask(reask_turns(reply, verdict), reply.number))


def _failed(at: Standing, failure: str, reason: str) -> Standing:
    return Standing(at.request, None, at.reply, at.verdict, failure, reason)


def _rung(at: Standing, past: Known) -> Rung:
    seq = at.reply.seq if at.reply is not None else past.rejection.seq if past.rejection is not None else None
    return rung(at.request, past, seq, at.failure, at.reason)


def rung(request: Request, past: Known, seq: int | None, failure: str | None = None, reason: str | None = None) -> Rung:
    """What became of a row at one model."""
    dollars = [reply.cost_usd for reply in past.replies]
    cost = None if None in dollars else sum((usd for usd in dollars if usd is not None), Decimal(0))
    return Rung(request.model, request.key, seq if seq is not None and seq >= 0 else None, failure, reason, cost)
