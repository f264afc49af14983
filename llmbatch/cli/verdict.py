"""Stored replies judged again, by the pipeline as its folder is now."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from llmbatch.errors import LlmbatchError

if TYPE_CHECKING:
    from llmbatch.pipeline import Pipeline
    from llmbatch.render import Renderer
    from llmbatch.types import Row


@dataclass(frozen=True, slots=True)
class Bench:
    """Judges a row's replies; ``remark`` says what of the pipeline could not be used."""

    judge: Callable[[str], str | None]  #: a raw reply -> its verdict in words; None where nothing can judge it
    remark: str | None


def bench(folder: Path, text: str | None, row_no: int, inputs: Sequence[str]) -> Bench:
    """The pipeline's schema and check, as far as they can be used.

    The check needs the row. It is read from the input again, and taken only if it still renders to ``text``; else
    the schema alone judges.
    """
    from llmbatch.cli.make import usable

    try:
        pipeline, renderer = usable(folder, ())
    except LlmbatchError as error:
        return Bench(lambda _: None, f"no verdicts, the pipeline cannot be loaded: {error.message}")
    row, remark = None, None
    if pipeline.check is not None:
        row = _row(renderer, text, row_no, inputs)
        remark = None if row else "verdicts are by the schema alone: the check needs the row, which the input lacks"
    return Bench(_judge(pipeline, row), remark)


def _judge(pipeline: Pipeline, row: Row | None) -> Callable[[str], str | None]:
    from llmbatch.reply import BrokenReply, parse_reply
    from llmbatch.types import Row
    from llmbatch.validate import Judge

    judge = Judge(pipeline.schema, pipeline.check if row is not None else None)

    def words(raw: str) -> str | None:
        try:
            reply = parse_reply(raw)
        except BrokenReply as error:
            return f"invalid: {error}"
        verdict = judge.judge(row or Row(0, {}, "", 0), reply)
        if verdict.valid:
            return "valid, its JSON was mended" if verdict.repaired else "valid"
        return f"invalid, {verdict.failure}: {'; '.join(verdict.problems)}"

    return words


def _row(renderer: Renderer, text: str | None, row_no: int, inputs: Sequence[str]) -> Row | None:
    """The row, if it is still where it was and still renders to the same text."""
    from itertools import islice
    from tempfile import TemporaryDirectory

    from llmbatch.render import RenderError
    from llmbatch.source import open_source

    if not inputs or "-" in inputs:
        return None
    try:
        with TemporaryDirectory() as spool, open_source(inputs, Path(spool)) as source:
            row = next(islice(source.rows(skip_bad=True), row_no, None), None)
            if row is None or row.problem is not None:
                return None
            return row if renderer.request(renderer.fit(row)).messages[-1]["content"] == text else None
    except (LlmbatchError, RenderError):
        return None
