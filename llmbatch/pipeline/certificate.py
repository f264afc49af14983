"""A model and the certificate it was chosen by, written into pipeline.toml's text. Comments and order stay."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from typing import Any

from llmbatch.errors import PipelineError

_HEADER = re.compile(r"^[ \t]*\[{1,2}[^\]\n]+\]{1,2}[ \t]*(?:#.*)?$", re.MULTILINE)
_MODEL = re.compile(
    r"^([ \t]*{name}[ \t]*=[ \t]*)(\"(?:\\.|[^\"\\\n])*\"|'[^'\n]*')".replace("{name}", "NAME"), re.MULTILINE
)


def with_choice(text: str, model: str, certificate: Mapping[str, str | int | float]) -> str:
    """The text with ``[request] model`` and a ``[certificate]`` table in place of the one that it had.

    Raises PipelineError when the text is written in a way that cannot be changed without a doubt.
    """
    changed = _with_certificate(_with_model(text, model), certificate)
    before, after = _read(text), _read(changed)
    before["request"] = {**before.get("request", {}), "model": model}
    before["certificate"] = dict(certificate)
    if before != after:
        raise PipelineError(_unclear(model), hint='[request] and model = "..." on lines of their own can be changed')
    return changed


def _unclear(model: str) -> str:
    return f"pipeline.toml is written in a way that --write cannot change; set model = {_quoted(model)} in it yourself"


def _read(text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return {}


def _with_model(text: str, model: str) -> str:
    """Changed is the first ``model`` of the table [request], or ``request.model`` before every table."""
    start, end, name = 0, _next_header(text, 0), r"request[ \t]*\.[ \t]*model"
    if table := re.search(r"^[ \t]*\[[ \t]*request[ \t]*\][^\n]*$", text, re.MULTILINE):
        start, end, name = table.end(), _next_header(text, table.end()), "model"
    pattern = re.compile(_MODEL.pattern.replace("NAME", name), re.MULTILINE)
    found = pattern.search(text, start, end)
    return text if found is None else text[: found.start(2)] + _quoted(model) + text[found.end(2) :]


def _with_certificate(text: str, certificate: Mapping[str, str | int | float]) -> str:
    lines = "".join(f"{name} = {_value(value)}\n" for name, value in certificate.items())
    table = re.search(r"^\[certificate\][^\n]*\n", text, re.MULTILINE)
    if table is None:
        return f"{text.rstrip()}\n\n[certificate]  # by llmbatch compare --write\n{lines}"
    end = _next_header(text, table.end())
    after = text[end:]
    return text[: table.end()] + lines + ("\n" + after if after else "")


def _next_header(text: str, start: int) -> int:
    found = _HEADER.search(text, start)
    return found.start() if found else len(text)


def _value(value: str | int | float) -> str:
    return _quoted(value) if isinstance(value, str) else repr(value)


def _quoted(text: str) -> str:
    """A TOML basic string."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(c if c.isprintable() else f"\\U{ord(c):08x}" for c in escaped) + '"'
