"""Why a row was asked or reused in its last run: which part of its request changed since the run before."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from difflib import unified_diff
from typing import Any

_CONTEXT = 1  #: lines around a change
_LINES = 40  #: of the difference that are shown
_HOLE = re.compile(r"\{\{-?\s*(.*?)\s*-?\}\}", re.DOTALL)
_NAME = re.compile(r"(?:row\.)?([A-Za-z_]\w*)\s*(?:\|.*)?", re.DOTALL)  #: a column, perhaps filtered
_COMMENT = re.compile(r"(\s*)\{#(-?).*?(-?)#\}(\s*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked for a row in one run."""

    run_id: str
    key: str
    version: dict[str, Any]  #: model, system, params, schema, prompt
    text: str | None  #: the rendered user message; None where the ledger does not have it


@dataclass(frozen=True, slots=True)
class Why:
    """The reason in words, and what it rests on."""

    reason: str
    run_before: str | None = None  #: the last run in which the row had another request
    changed: tuple[str, ...] = ()  #: model, system, params, schema, template, row's text
    columns: tuple[str, ...] = ()  #: of the row, those that changed, as far as the template tells
    difference: str | None = None  #: of the rendered texts, as a unified diff

    def as_json(self) -> dict[str, Any]:
        """The same for a JSON encoder."""
        return asdict(self)


def changed(now: Asked, before: Asked) -> Why:
    """Which part of a request is another than in the run before."""
    parts = [name for name in ("model", "system", "params", "schema") if now.version[name] != before.version[name]]
    template = now.version["prompt"] != before.version["prompt"]
    parts += ["template"] if template else []
    columns: tuple[str, ...] = ()
    text = now.text is not None and before.text is not None and now.text != before.text
    if text:
        columns = tuple(_columns(now, before))
        if columns or not template:
            parts.append("row's text")
    what = ", ".join(parts) if parts else "something that the ledger does not hold"
    shown = f" ({', '.join(columns)})" if columns else ""
    return Why(
        f"asked anew: since run {before.run_id} its request changed: {what}{shown}",
        before.run_id,
        tuple(parts),
        columns,
        difference(before, now) if text else None,
    )


def difference(before: Asked, now: Asked) -> str:
    """The rendered texts as a short unified diff."""
    one, other = (before.text or "").splitlines(), (now.text or "").splitlines()
    lines = list(unified_diff(one, other, before.run_id, now.run_id, n=_CONTEXT, lineterm=""))
    more = [f"[{len(lines) - _LINES} more lines]"] if len(lines) > _LINES else []
    return "\n".join([*lines[:_LINES], *more])


def _columns(now: Asked, before: Asked) -> Iterator[str]:
    """Columns whose values differ, read back out of the rendered texts by the template's own words around them."""
    values, old = (read_back(asked.version["prompt"] or "", asked.text or "") for asked in (now, before))
    if values is None or old is None:
        return
    yield from (name for name in values if name in old and values[name] != old[name])


def read_back(template: str, text: str) -> dict[str, str] | None:
    """The values of a template's columns, from what it rendered; None where it has more than plain text and columns.

    Where a column's end cannot be told for sure, the shortest value is taken, for both texts alike.
    """
    template = _COMMENT.sub(lambda m: ("" if m[2] else m[1]) + ("" if m[3] else m[4]), template)
    if "{%" in template:
        return None
    pattern, names, at = "", list[str](), 0
    for hole in _HOLE.finditer(template):
        name = _NAME.fullmatch(hole[1])
        if name is None or name[1] in names:
            return None
        pattern += f"{re.escape(template[at : hole.start()])}(?P<c{len(names)}>.*?)"
        names.append(name[1])
        at = hole.end()
    end = re.escape(template[at:].rstrip("\n"))
    found = re.fullmatch(f"{pattern}{end}\n?", text, re.DOTALL)
    return None if found is None else {name: found[f"c{number}"] for number, name in enumerate(names)}
