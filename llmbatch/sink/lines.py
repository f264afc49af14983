"""JSON Lines."""

from __future__ import annotations

import json

import orjson

from llmbatch.sink.answer import Answer, Target
from llmbatch.source import row_id
from llmbatch.types import Json, Row


def line_of(value: Json) -> bytes:
    """A value as one line.

    orjson refuses values nested more than 254 levels deep, integers beyond 64 bits and lone surrogates; such lines are
    written by the standard library, in ASCII.
    """
    try:
        return orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE)
    except TypeError:
        return json.dumps(value).encode() + b"\n"


def failed_line(row: Row, answer: Answer, target: Target) -> bytes:
    """The line of ``failed.jsonl`` for a failed row.

    Its keys: ``row_no``, ``place``, ``id`` (where the pipeline names an id column), ``status``, ``failure`` (the
    class), ``reason``, ``key``, ``last_reply`` and ``row`` (the input row).
    """
    failure, _, reason = (answer.error or "").partition(": ")
    column = target.id_column
    return line_of(
        {"row_no": row.row_no, "place": row.place}
        | ({"id": row_id(row, column)} if column in row.columns else {})
        | {
            "status": answer.status.value,
            "failure": failure or None,
            "reason": reason or None,
            "key": answer.key,
            "last_reply": answer.last_reply,
            "row": row.columns,
        }
    )
