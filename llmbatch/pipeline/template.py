"""What a template must not say, because nothing bounds what it would take.

The renderer's fuel bounds time and, by the size of what is made, memory: repeating, joining, replacing and looping all
burn it. Two things do not: the width in a format string of ``str.format``, and the indent of ``tojson``.
"""

from __future__ import annotations

import re
from pathlib import Path

from llmbatch.errors import PipelineError

_STRING = r"'(?:\\.|[^'\\])*'|\"(?:\\.|[^\"\\])*\""
#: comments and raw blocks, which are no code; then code, whose strings may hold its end marks
_PARTS = re.compile(
    r"\{#.*?#\}|\{%[-+]?\s*raw\s*[-+]?%\}.*?\{%[-+]?\s*endraw\s*[-+]?%\}"
    rf"|(?P<code>\{{\{{(?:{_STRING}|(?!\}}\}}).)*\}}\}}|\{{%(?:{_STRING}|(?!%\}}).)*%\}})",
    re.DOTALL,
)
_FORMAT = re.compile(r"\.\s*format\s*\(")
_INDENT = re.compile(r"\bindent\s*=\s*(?!\d{1,2}\s*[,)])|\btojson\s*\(\s*(?!(?:indent\s*=|\d{1,2}\s*\)|true|false|\)))")


def refuse_unbounded(prompt: str, path: Path) -> None:
    """Raise PipelineError (file, line) for what has no bound."""
    for part in _PARTS.finditer(prompt):
        code = re.sub(_STRING, "''", part["code"] or "")
        if found := _FORMAT.search(code):
            words = "str.format() has no bound on its width"
            hint = "write {{ a ~ b }}, or the format filter: {{ '%s: %d'|format(a, b) }}"
        elif found := _INDENT.search(code):
            words, hint = "tojson's indent must be a number below 100, written out", "for instance tojson(indent=2)"
        else:
            continue
        line = prompt.count("\n", 0, part.start()) + code.count("\n", 0, found.start()) + 1
        raise PipelineError(f"{path}:{line}: {words}", hint=hint)
