"""pipeline.toml's text -> Settings, with errors that name the line and the nearest known key."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from llmbatch.errors import PipelineError, UsageError
from llmbatch.scrub import holds_key
from llmbatch.settings import OFFLINE_MODEL, PriceFile, PriceSettings, ProviderSettings, Settings

_UNSHOWN = {"base_url", "api_key_env", "api_key_file"}  #: where a key may stand by mistake; errors do not repeat it
_NOT_IN_URL = re.compile(r"//[^/]*@|[?#]")
_KEY_ELSEWHERE = (
    "keys stand in no file of a pipeline and on no command line: put it into an environment variable and name that in "
    "[provider] api_key_env, or into a file with mode 0600 and name that in api_key_file; replace this key if others "
    "may have seen it"
)


def settings(text: str, path: Path, overrides: Sequence[str] = ()) -> Settings:
    """Parse and validate.

    Raises PipelineError (file, line, nearest key), UsageError for a bad override; either for an API key in a value.
    """
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise PipelineError(f"{path}: not valid TOML: {error}") from None
    for override in overrides:
        _override(data, override)
    _refuse_keys(data, lambda loc: _where(text, path, overrides, loc))
    if (named := {*map(_key_of, overrides)}) >= {"request.model"} and "request.ladder" not in named:
        _leave_ladder(data)
    if "provider.base_url" in named and "api_key_file" not in data["provider"]:
        # whoever names the address when the run is started means the usual key for it; a file has to say so
        data["provider"].setdefault("api_key_env", ProviderSettings().api_key_env)
    try:
        return _as_asked(Settings.model_validate(data))
    except ValidationError as error:
        problems = [_problem(text, path, overrides, e) for e in error.errors()]
        raise PipelineError("\n".join(problems), hint=f"`llmbatch check {path.parent}` tries it again") from None


def price_file(path: Path) -> Mapping[str, PriceSettings]:
    """The [prices.MODEL] tables of a file that holds nothing else. Raises PipelineError as :func:`settings` does."""
    try:
        text = path.read_text(encoding="utf-8")
        data = tomllib.loads(text)
    except OSError as error:
        raise PipelineError(f"cannot read the prices in {path}: {error.strerror}") from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise PipelineError(f"{path}: not valid TOML: {error}") from None
    try:
        return PriceFile.model_validate(data).prices
    except ValidationError as error:
        problems = [_problem(text, path, (), e) for e in error.errors()]
        hint = "it holds tables such as [prices.my-model] with input and output, as pipeline.toml may"
        raise PipelineError("\n".join(problems), hint=hint) from None


def _refuse_keys(data: Any, where: Callable[[Sequence[str]], str], loc: tuple[str, ...] = ()) -> None:
    if isinstance(data, dict):
        for name, value in data.items():
            _refuse_keys(value, where, (*loc, name))
    elif isinstance(data, list):
        for value in data:
            _refuse_keys(value, where, loc)
    elif isinstance(data, str) and (holds_key(data) or (loc[-1:] == ("base_url",) and _NOT_IN_URL.search(data))):
        what = "an API key" if holds_key(data) else "a user, a password or a query"
        raise PipelineError(f"{where(loc)}: {'.'.join(loc)} holds {what}", hint=_KEY_ELSEWHERE)


def _leave_ladder(data: dict[str, Any]) -> None:
    """Whoever names one model when the run is started means that one alone."""
    graders = data.get("quality", {}).get("graders", {}) if data["request"].pop("ladder", None) is not None else {}
    for told in graders.values():
        told.pop("climb_below", None)


def _as_asked(found: Settings) -> Settings:
    """The settings with the model that is really asked: the offline provider is one of its own."""
    if found.provider.kind != "offline":
        return found
    request = found.request.model_copy(update={"model": OFFLINE_MODEL, "ladder": ()})
    return found.model_copy(update={"request": request})


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
    where = _where(text, path, overrides, loc)
    if error["type"] == "extra_forbidden":
        near = nearest(dotted, list(_known_keys(Settings)))
        return f"{where}: unknown key {dotted!r}" + (f"; did you mean {near!r}?" if near else "")
    if error["type"] == "missing":
        return f"{where}: {dotted!r} is required"
    it_is = "" if _holds_unshown(error["loc"], error["input"]) else f" (it is {error['input']!r})"
    return f"{where}: {dotted}: {error['msg'].removeprefix('Value error, ')}{it_is}"


def _holds_unshown(loc: Sequence[str | int], value: object) -> bool:
    return not _UNSHOWN.isdisjoint(loc) or (loc[:1] == ("provider",) and isinstance(value, dict))


def _where(text: str, path: Path, overrides: Sequence[str], loc: Sequence[str]) -> str:
    """For a person: the flag or the file and line that a value came from."""
    if (dotted := ".".join(loc)) in map(_key_of, overrides):
        return f"--set {dotted}"
    line = _line(text, loc)
    return f"{path}:{line}" if line else str(path)


def _key_of(override: str) -> str:
    return override.partition("=")[0].strip()


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
        for kind in (field.annotation, *get_args(field.annotation)):
            if isinstance(kind, type) and issubclass(kind, BaseModel):  # a table, or the tables of a table
                yield from _known_keys(
                    kind, f"{prefix}{name}." if kind is field.annotation else f"{prefix}{name}.NAME."
                )


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
