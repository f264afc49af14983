"""A row becomes a request: the prompt rendered, the body hashed. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import minijinja
import orjson

from llmbatch.errors import PipelineError
from llmbatch.pipeline.template import FACTOR, with_factors_checked
from llmbatch.types import Json, Message, Request, Row

if TYPE_CHECKING:
    from llmbatch.pipeline import Pipeline

_FUEL = 5_000_000  #: template instructions a row; a runaway loop ends after about a second


class RenderError(Exception):
    """The template cannot be rendered for a row, or the row's text is too long. ``failure`` is the class."""

    def __init__(self, failure: str, reason: str) -> None:
        super().__init__(reason)
        self.failure = failure


class Renderer:
    """Renders rows of one pipeline. Raises PipelineError at once when the template has a syntax error."""

    def __init__(self, pipeline: Pipeline) -> None:
        request = pipeline.settings.request
        self._max_chars = pipeline.settings.input.max_chars
        self._truncate = pipeline.settings.input.too_long == "truncate"
        self._model = request.model
        self._file = pipeline.prompt_file
        self._params: Mapping[str, Json] = request.params
        self._schema = pipeline.schema
        self._system: tuple[Message, ...] = (
            ({"role": "system", "content": request.system},) if request.system is not None else ()
        )
        self._env = minijinja.Environment(undefined_behavior="strict", fuel=_FUEL)
        self._env.add_filter(FACTOR, _factor)
        try:
            self._env.add_template("prompt", with_factors_checked(pipeline.prompt))
        except minijinja.TemplateError as error:
            raise PipelineError(
                f"{pipeline.folder / pipeline.prompt_file}:{error.line or 1}: {error.message}"
            ) from None
        self._used = self.variables()
        self._head, self._tail = self._canonical_frame(request.model)
        self._above = [(model, *self._canonical_frame(model)) for model in request.models[1:]]

    def variables(self) -> set[str]:
        """Names that the template takes from the row."""
        return set(self._env.undeclared_variables_in_template("prompt"))

    def fit(self, row: Row) -> Row:
        """The row, with its longest text cut if ``too_long = "truncate"`` and the row has more than ``max_chars``.

        Raises RenderError("too_long") for too long a row otherwise. Counted are the characters of all text columns.
        """
        if self._max_chars is None:
            return row
        lengths = {name: len(value) for name, value in row.columns.items() if isinstance(value, str)}
        over = sum(lengths.values()) - self._max_chars
        if over <= 0:
            return row
        if not self._truncate:
            raise RenderError("too_long", f"{over + self._max_chars:,} characters; max_chars is {self._max_chars:,}")
        longest = max(lengths, key=lambda name: lengths[name])
        keep = lengths[longest] - over
        if keep < 0:
            raise RenderError("too_long", f"cannot be cut to max_chars = {self._max_chars:,} in one column")
        columns = {**row.columns, longest: row.columns[longest][:keep]}
        return Row(row.row_no, columns, row.file, row.line)

    def request(self, row: Row) -> Request:
        """Render and hash. Raises RenderError("render") when the template asks for what the row lacks."""
        # only what the template names: every value given costs a copy
        values = {name: value for name, value in row.columns.items() if name in self._used}
        if "row" in self._used and "row" not in values:
            values["row"] = row.columns
        try:
            text = self._env.render_template("prompt", **values)
        except minijinja.TemplateError as error:
            place = f"{self._file}:{error.line}" if error.line else self._file  # a filter of ours knows no line
            raise RenderError("render", f"{place}: {error.message}") from None
        message = {"role": "user", "content": text}
        key = _key(self._head, orjson.dumps(message, option=orjson.OPT_SORT_KEYS), self._tail)
        return Request(key, row.row_no, self._model, (*self._system, message), self._params, self._schema)

    def rungs(self, request: Request) -> tuple[Request, ...]:
        """A row's request, as :meth:`request` gives it, to each model of the ladder in its order; itself is the first.

        Without a ladder it is the only one.
        """
        if not self._above:
            return (request,)
        message = orjson.dumps(request.messages[-1], option=orjson.OPT_SORT_KEYS)
        return (request, *(replace(request, key=_key(head, message, tail), model=m) for m, head, tail in self._above))

    def _canonical_frame(self, model: str) -> tuple[hashlib._Hash, bytes]:
        """The canonical body around the user message: its hashed head, and its tail.

        Keys are sorted, and "messages" sorts first, so the head is the same for every row and is hashed once.
        """
        mark = {"role": "user", "content": "\x00"}
        body = canonical(model, (*self._system, mark), self._params, self._schema)
        head, tail = body.split(orjson.dumps(mark, option=orjson.OPT_SORT_KEYS))
        return hashlib.sha256(head), tail


def _key(head: hashlib._Hash, message: bytes, tail: bytes) -> str:
    digest = head.copy()
    digest.update(message)
    digest.update(tail)
    return digest.hexdigest()


def _factor(value: Any) -> Any:
    if isinstance(value, Iterable) and not isinstance(value, str):
        raise minijinja.TemplateError("a list stands beside `*`: it would be repeated without bound")
    return value


def canonical(
    model: str, messages: tuple[Message, ...], params: Mapping[str, Json], schema: Mapping[str, Json]
) -> bytes:
    """The canonical JSON body whose SHA-256 is the key: what changes the answer, and nothing else."""
    return orjson.dumps(
        {"messages": messages, "model": model, "params": params, "response_format": schema},
        option=orjson.OPT_SORT_KEYS,
    )
