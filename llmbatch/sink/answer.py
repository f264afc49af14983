"""What the sink is given, and what it gives back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Literal

from llmbatch.noun import noun
from llmbatch.source import ColumnType
from llmbatch.types import Json, Status

Format = Literal["jsonl", "parquet"]


@noun(frozen=True, slots=True)
class Answer:
    """How a row ended."""

    status: Status
    error: str | None = None  #: ``class: reason`` of a failed or skipped row
    key: str | None = None  #: of its request
    model: str | None = None  #: as returned
    cost_usd: Decimal | None = None  #: None when unknown or nothing was asked
    output: dict[str, Json] | None = None  #: validated; None unless done or reused
    last_reply: str | None = None  #: raw text of the last invalid reply of a failed row
    asked: bool = False  #: this night made a call for it
    rung: int = 0  #: which model of the ladder it ended at


@dataclass(frozen=True, slots=True)
class Target:
    """Where results go, and what their columns are made of."""

    folder: Path
    format: Format
    kind: Format  #: of the input
    files: tuple[Path, ...]  #: of the input, in order
    columns: Mapping[str, ColumnType]  #: of the input, as surveyed
    schema: Mapping[str, Json]  #: JSON Schema of the output
    prefix: str  #: put before the output's field names
    prompt_version: str
    id_column: str | None = None

    @property
    def results(self) -> Path:
        """The results file."""
        return self.folder / f"results.{self.format}"

    @property
    def failed(self) -> Path:
        """The file of failed rows."""
        return self.folder / "failed.jsonl"


@dataclass(frozen=True, slots=True)
class Written:
    """What was written."""

    results: Path
    failed: Path
    rows: int  #: in ``results``
    bytes: int  #: of both files
