"""Real inputs in, real results out."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import pytest

from llmbatch.settings import InputSettings
from llmbatch.sink import Answer, Target, Written, added_columns, write_results
from llmbatch.sink.answer import Format
from llmbatch.source import open_source, survey
from llmbatch.types import Row, Status

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"summary": {"type": "string"}, "tags": {"type": "array", "items": {"type": "string"}}},
    "required": ["summary", "tags"],
    "additionalProperties": False,
}
OWN = [f"llmbatch_{name}" for name in ("status", "error", "key", "model", "prompt_version", "cost_usd")]
OUTPUT = {"tags": ["a", "ü"], "summary": "short"}
DONE = Answer(Status.DONE, None, "k" * 64, "gpt-5-mini", Decimal("0.000123456789"), OUTPUT)
FAILED = Answer(Status.FAILED, "schema: summary: is missing: twice", "f" * 64, "gpt-5-mini", last_reply='{"tags": 1}')
PENDING = Answer(Status.PENDING)


@dataclass
class Night:
    """One run's end: an input, answers, and where the results go."""

    folder: Path
    inputs: list[str] = field(default_factory=list)
    schema: dict[str, Any] = field(default_factory=lambda: SCHEMA)
    prefix: str = ""
    id_column: str | None = None
    skip_bad: bool = False

    def jsonl(self, lines: Iterable[Any], name: str = "rows.jsonl") -> Night:
        path = self.folder / name
        path.write_bytes(b"".join(x if isinstance(x, bytes) else orjson.dumps(x) + b"\n" for x in lines))
        self.inputs.append(str(path))
        return self

    def target(self, format: Format) -> Target:
        with open_source(self.inputs, self.folder) as source:
            found = survey(
                source, InputSettings(), taken=added_columns(self.schema, self.prefix), skip_bad=self.skip_bad
            )
            files = tuple(file.path for file in source.files)
            return Target(
                folder=self.folder / "results", format=format, kind=source.kind, files=files, columns=found.columns,
                schema=self.schema, prefix=self.prefix, prompt_version="v1", id_column=self.id_column,
            )  # fmt: skip

    def write(
        self, format: Format, answer: Answer | Callable[[Row], Answer] = DONE, limit: int | None = None
    ) -> Written:
        answer_of = answer if callable(answer) else lambda row: answer
        target = self.target(format)
        with open_source(self.inputs, self.folder) as source:
            rows = source.rows(skip_bad=self.skip_bad)
            pairs = ((row, answer_of(row)) for row in rows if limit is None or row.row_no < limit)
            return write_results(pairs, target)


@pytest.fixture
def night(tmp_path: Path) -> Night:
    return Night(tmp_path)


def lines(path: Path) -> list[Any]:
    return [orjson.loads(line) for line in path.read_bytes().splitlines()]
