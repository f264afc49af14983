"""A row's result: what a line of results.jsonl holds, and the message that it answers."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path

from llmbatch.intake.message import Message
from llmbatch.sink import Answer, Target, added_columns
from llmbatch.sink.columns import values_of
from llmbatch.sink.lines import line_of
from llmbatch.types import Json, Outcome, Reply, Row, Status
from llmbatch.validate import output_of

ID_COLUMN = "llmbatch_message_id"


class Results:
    """Makes results of outcomes."""

    def __init__(self, schema: Mapping[str, Json], prefix: str, prompt_version: str, largest: int | None) -> None:
        self.taken = frozenset(added_columns(schema, prefix)) | {ID_COLUMN}
        self._values = values_of(Target(Path(), "jsonl", "jsonl", (), {}, schema, prefix, prompt_version))
        self._largest = largest

    def of(self, message: Message, row: Row, outcome: Outcome, reply: Reply | None, cost: Decimal | None) -> bytes:
        """One line of JSON. What is too large for the broker comes without the row, then without the output."""
        valid = outcome.status in (Status.DONE, Status.REUSED)
        answer = Answer(
            status=outcome.status,
            error=None if outcome.failure is None else f"{outcome.failure}: {outcome.reason}",
            key=outcome.key,
            model=reply.model if reply is not None else None,
            cost_usd=cost,
            output=output_of(reply.text) if valid and reply is not None else None,
        )
        values = self._values(answer)
        named = {ID_COLUMN: message.id}
        line = line_of(row.columns | values | named)
        if self._fits(line):
            return line
        line = line_of(values | named)
        if self._fits(line):
            return line
        left_out = "too large for the broker; `llmbatch show` has the output"
        return line_of(self._values(Answer(outcome.status, left_out, outcome.key)) | named)

    def _fits(self, line: bytes) -> bool:
        return self._largest is None or len(line) <= self._largest
