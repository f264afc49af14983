"""How a row gets its outcome: rendered, judged on stored replies, finished. What every engine does alike."""

from __future__ import annotations

from typing import Protocol

from llmbatch.halt import Halt
from llmbatch.ledger import Known, Ledger, Run
from llmbatch.providers.echo import without_row
from llmbatch.render import Renderer, RenderError
from llmbatch.source import row_id
from llmbatch.types import Observer, Outcome, Reply, Request, Row, Status, Verdict
from llmbatch.validate import FINAL, Judge, reask_turns

_DONE, _REUSED = Status.DONE, Status.REUSED


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

    def serve(self, row: Row, request: Request, reply: Reply, *, own: frozenset[int] = frozenset()) -> Verdict:
        """Judge a stored reply; a valid one settles the row."""
        verdict = self._rules.judge.judge(row, reply)
        if verdict.valid:
            self.finish(row, _DONE if reply.seq in own else _REUSED, request, reply=reply, repaired=verdict.repaired)
        return verdict

    def on_stored(
        self, row: Row, request: Request, past: Known, *, ask_failed: bool, own: frozenset[int] = frozenset()
    ) -> Request | None:
        """Settle a row on stored replies; else the request to send, as a re-ask after stored invalid replies.

        A reply whose seq is in ``own`` was paid for by this run and for this row.
        """
        rules = self._rules
        last: tuple[Reply, Verdict] | None = None
        for reply in past.replies:
            verdict = self.serve(row, request, reply, own=own)
            if verdict.valid:
                return None
            last = reply, verdict
        if last is None and past.rejection is None:
            return request
        failure = past.rejection.failure if past.rejection else last[1].failure if last else None
        if ask_failed and self._asks_again(failure):
            return request
        if past.rejection is not None:
            self.finish(row, Status.FAILED, request, failure=failure, reason=past.rejection.reason)
        elif last is not None and (failure in FINAL or last[0].number >= rules.max_attempts):
            self.fail(row, request, *last)
        elif last is not None:
            return request.reask(reask_turns(*last), last[0].number)
        return None

    def _asks_again(self, failure: str | None) -> bool:
        classes = self._rules.retry_failed
        return classes is not None and (not classes or failure in classes)

    def fail(self, row: Row, request: Request, reply: Reply, verdict: Verdict) -> None:
        """Finish a row with an invalid reply that nothing more is asked after."""
        self.finish(
            row, Status.FAILED, request, reply=reply, failure=verdict.failure, reason="; ".join(verdict.problems)
        )

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
        )
        if row.row_no >= 0:  # else a gold row, which is none of the run's
            rules.ledger.settle(rules.run.run_no, outcome)
        rules.observer.finished(outcome, reply)
        if failure is not None:
            rules.observer.failed(outcome, row.place, lambda: without_row(reason or "", row, request))
