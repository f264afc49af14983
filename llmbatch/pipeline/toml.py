"""pipeline.toml's text -> Settings, with errors that name the line and the nearest known key."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from llmbatch.errors import PipelineError, UsageError
from llmbatch.settings import Settings


def settings(text: str, path: Path, overrides: Sequence[str] = ()) -> Settings:
    """Parse and validate. Raises PipelineError (file, line, nearest key), UsageError for a bad override."""
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise PipelineError(f"{path}: not valid TOML: {error}") from None
    for override in overrides:
        _override(data, override)
    try:
        return Settings.model_validate(data)
    except ValidationError as error:
        problems = [_problem(text, path, overrides, e) for e in error.errors()]
        raise PipelineError("\n".join(problems), hint=f"`llmbatch check {path.parent}` tries it again") from None


def _override(data: dict[str, Any], override: str) -> None:
    key, equals, value = override.partition("=")
    parts = key.strip().split(".")
    if not equals or not all(parts):
        raise UsageError(f"--set {override!r} is not KEY=VALUE", hint="for instance --set limits.concurrency=8")
    table = data
    for part in parts[:-1]:
        table = table.setdefault(part, {})
        if not isinstance(table, dict):
            raise UsageError(f"--set {override!r}: {part} is no table")
    table[parts[-1]] = _value(value.strip())


def _value(text: str) -> Any:
    """A TOML value; what is none is taken as a string, so that --set request.model=gpt-5-mini needs no quotes."""
    try:
        return tomllib.loads(f"v = {text}")["v"]
    except tomllib.TOMLDecodeError:
        return text


def _problem(text: str, path: Path, overrides: Sequence[str], error: Any) -> str:
    loc = [str(part) for part in error["loc"]]
    dotted = ".".join(loc)
    if any(o.partition("=")[0].strip() == dotted for o in overrides):
        where = f"--set {dotted}"
    else:
        where = f"{path}:{_line(text, loc)}" if _line(text, loc) else str(path)
    if error["type"] == "extra_forbidden":
        near = nearest(dotted, list(_known_keys(Settings)))
        return f"{where}: unknown key {dotted!r}" + (f"; did you mean {near!r}?" if near else "")
    if error["type"] == "missing":
        return f"{where}: {dotted!r} is required"
    return f"{where}: {dotted}: {error['msg'].removeprefix('Value error, ')} (it is {error['input']!r})"


def nearest(word: str, known: Sequence[str]) -> str | None:
    """The known word that is most like ``word``; a right name in the wrong table counts first."""
    tail = word.rsplit(".", 1)[-1]
    for name in known:
        if name.rsplit(".", 1)[-1] == tail:
            return name
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return close[0] if close else None


def _known_keys(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        yield prefix + name
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _known_keys(field.annotation, f"{prefix}{name}.")


def _line(text: str, loc: Sequence[str]) -> int | None:
    """The 1-based line of a key: by its table's header, then by its name. None for inline or dotted spellings."""
    table = ""
    for number, line in enumerate(text.split("\n"), 1):
        if header := re.match(r"\s*\[\s*([^\[\]]+?)\s*\]", line):
            table = re.sub(r"[\"'\s]", "", header[1])
            if table == ".".join(loc):
                return number
        elif (key := re.match(r"\s*[\"']?([\w.-]+)[\"']?\s*=", line)) and [*table.split("."), key[1]] in (
            [*loc],
            ["", *loc],
        ):
            return number
    return None
