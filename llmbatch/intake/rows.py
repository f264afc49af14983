"""A message's body as a row."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from llmbatch.intake.message import Message
from llmbatch.settings import InputSettings
from llmbatch.source import check_row
from llmbatch.source.jsonl import row_of
from llmbatch.types import Row


def row_from(
    message: Message, row_no: int, queue: str, settings: InputSettings, *, taken: Collection[str], most: int
) -> Row:
    """The row of a message; one that breaks a rule carries its problem, as does one delivered more than ``most`` times.

    ``taken`` are the columns that results add.
    """
    if message.deliveries > most:
        words = f"delivered {message.deliveries} times and never answered: it may end the worker that takes it"
        return Row(row_no, {}, queue, row_no + 1, words)
    row = row_of(message.body, row_no, queue)
    problem = check_row(row, settings)
    if problem is None and (clash := next((name for name in row.columns if name in taken), None)) is not None:
        problem = f'results have a column "{clash}" of their own; [output] prefix is the way out'
    return row if problem is None else replace(row, columns={}, problem=problem)
