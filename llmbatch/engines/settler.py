"""How a row gets its outcome: rendered, judged on stored replies, finished. What every engine does alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from typing import Protocol

from llmbatch.engines import ladder
from llmbatch.engines.ladder import rung, standing
from llmbatch.halt import Halt
from llmbatch.ledger import Known, Ledger, Run
from llmbatch.providers.echo import without_row
from llmbatch.render import Renderer, RenderError
from llmbatch.source import row_id
from llmbatch.types import Observer, Outcome, Reply, Request, Row, Rung, Status
from llmbatch.validate import FINAL, Judge, reask_turns

_DONE, _REUSED = Status.DONE, Status.REUSED
_NOBODY: frozenset[int] = frozenset()


class Rules(Protocol):
    """What settling rows takes; an engine has it."""

    @property
    def ledger(self) -> Ledger: ...  # noqa: D102
    @property
    def run(self) -> Run: ...  # noqa: D102
    @property
    def renderer(self) -> Renderer: ...  # noqa: D102
    @property
    def judge(self) -> Judge: ...  # noqa: D102
    @property
    def observer(self) -> Observer: ...  # noqa: D102
    @property
    def halt(self) -> Halt: ...  # noqa: D102
    @property
    def max_attempts(self) -> int: ...  # noqa: D102
    @property
    def id_column(self) -> str | None: ...  # noqa: D102
    @property
    def retry_failed(self) -> frozenset[str] | None: ...  # noqa: D102


class Settler:
    """Settles rows by an engine's rules."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._standing = ladder.Rules(rules.judge, rules.max_attempts)
        self._asking_again = replace(self._standing, retry_failed=rules.retry_failed)

    def rendered(self, row: Row) -> Request | None:
        """What is to be sent for a row; None when nothing can be, and the row has its outcome."""
        if row.problem is not None:
            self.finish(row, Status.SKIPPED, None, failure="bad_row", reason=row.problem)
            return None
        try:
            return self._rules.renderer.request(self._rules.renderer.fit(row))
        except RenderError as error:
            status = Status.SKIPPED if error.failure == "too_long" else Status.FAILED
            self.finish(row, status, None, failure=error.failure, reason=str(error))
            return None

    def serve(self, row: Row, requests: Sequence[Request], reply: Reply) -> bool:
        """Settle a row on a stored reply of the first model, if it serves."""
        verdict = self._rules.judge.judge(row, reply)
        if not verdict.valid or (len(requests) > 1 and self._rules.judge.low(row, verdict) is not None):
            return False
        rungs = (rung(requests[0], Known([reply]), reply.seq),) if len(requests) > 1 else ()
        self.finish(row, _REUSED, requests[0], reply=reply, repaired=verdict.repaired, rungs=rungs)
        return True

    def on_stored(
        self,
        row: Row,
        requests: Sequence[Request],
        stored: Mapping[str, Known],
        *,
        ask_failed: bool,
        own: AbstractSet[int] = _NOBODY,
    ) -> Request | None:
        """Settle a row on stored replies; else the request to send: a first ask, a re-ask, or that to the next model.

        ``requests`` has one for each model of the ladder, ``stored`` what is known of each. A reply whose seq is in
        ``own`` was paid for by this run and for this row.
        """
        at = standing(row, requests, stored, self._asking_again if ask_failed else self._standing)
        if at.ask is not None:
            return at.ask
        reply, verdict = at.reply, at.verdict
        served = _DONE if reply is not None and reply.seq in own else _REUSED
        self.finish(
            row,
            served if at.failure is None else Status.FAILED,
            at.request,
            reply=reply,
            failure=at.failure,
            reason=at.reason,
            repaired=at.failure is None and verdict is not None and verdict.repaired,
            rungs=at.rungs,
        )
        return None

    def on_reply(
        self,
        row: Row,
        requests: Sequence[Request],
        asked: Request,
        reply: Reply,
        stored: Mapping[str, Known],
        own: AbstractSet[int],
    ) -> Request | None:
        """Judge a reply that was paid for, the last in ``stored``; the parameters are those of :meth:`on_stored`."""
        verdict = self._rules.judge.judge(row, reply)
        self._rules.observer.judged(reply, verdict)
        if len(requests) > 1:
            return self.on_stored(row, requests, stored, ask_failed=False, own=own)
        if verdict.valid:
            self.finish(row, _DONE, asked, reply=reply, repaired=verdict.repaired)
            return None
        if verdict.failure in FINAL or reply.number >= self._rules.max_attempts:
            reason = "; ".join(verdict.problems)
            self.finish(row, Status.FAILED, asked, reply=reply, failure=verdict.failure, reason=reason)
            return None
        return asked.reask(reask_turns(reply, verdict), reply.number)

    def on_fault(
        self,
        row: Row,
        requests: Sequence[Request],
        asked: Request,
        stored: Mapping[str, Known],
        failure: str,
        reason: str,
    ) -> None:
        """Finish a row whose request brought nothing to judge, for reasons of the provider's."""
        rungs: tuple[Rung, ...] = ()
        if len(requests) > 1:
            last = rung(asked, stored.get(asked.key) or Known(), None, failure, reason)
            rungs = (*standing(row, requests, stored, self._standing).rungs, last)
        self.finish(row, Status.FAILED, asked, failure=failure, reason=reason, rungs=rungs)

    def finish(
        self,
        row: Row,
        status: Status,
        request: Request | None,
        *,
        reply: Reply | None = None,
        failure: str | None = None,
        reason: str | None = None,
        repaired: bool = False,
        rungs: tuple[Rung, ...] = (),
    ) -> None:
        """Give a row its outcome."""
        rules = self._rules
        column = rules.id_column
        outcome = Outcome(
            row.row_no,
            status,
            row_id(row, column) if column and row.problem is None else None,
            request.key if request else None,
            reply.seq if reply else None,
            failure,
            reason,
            repaired,
            rungs,
        )
        if row.row_no >= 0:  # else a gold row, which is none of the run's
            rules.ledger.settle(rules.run.run_no, outcome)
        rules.observer.finished(outcome, reply)
        if failure is not None:
            rules.observer.failed(outcome, row.place, lambda: without_row(reason or "", row, request))
