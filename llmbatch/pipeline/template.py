"""What a template must not do, because nothing bounds what it would take.

The renderer's fuel bounds time and, by the size of what is made, memory: repeating text, joining, replacing and looping
all burn it. Three things do not. The width in a format string of ``str.format`` and the indent of ``tojson`` are
refused when the pipeline is loaded. A list that ``*`` repeats costs nothing until it is printed, and then all at once;
whether a factor is a list is known with the row only, so both factors pass a filter that refuses lists.
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
FACTOR = "_factor"  #: the filter's name, which no template is likely to use
#: of code: blanks, then a string, a number, a name, or one sign; ``**``, ``//`` and comparisons are one
_TOKEN = re.compile(rf"\s*({_STRING}|\d[\w.]*|\w+|\*\*|//|[=!<>]=|.)", re.DOTALL)
_CLOSES = {"(": ")", "[": "]", "{": "}"}
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


def with_factors_checked(prompt: str) -> str:
    """The template with a filter on both factors of every ``*``. Prompts without one are unchanged."""
    return _PARTS.sub(lambda part: _checked(part[0]) if "*" in (part["code"] or "") else part[0], prompt)


def _checked(code: str) -> str:
    tokens = list(_TOKEN.finditer(code, 2, len(code) - 2))
    words = [token[1] for token in tokens]
    marks = []  # where the filter goes: behind each factor
    for at, word in enumerate(words):
        if word == "*" and at and (words[at - 1][-1].isalnum() or words[at - 1][-1] in "_)]}'\""):  # no *args
            marks += [tokens[at - 1].end(), tokens[_factor_end(words, at + 1)].end()]
    for place in sorted(marks, reverse=True):
        code = f"{code[:place]}|{FACTOR}{code[place:]}"
    return code


def _factor_end(words: list[str], at: int) -> int:
    """The last token of the factor that begins at ``at``: signs, a value, and what is applied to it."""
    while at < len(words) - 1 and words[at] in "-+":
        at += 1
    at = _closed(words, at)
    while at + 1 < len(words) and words[at + 1] in {".", "|", "(", "["}:
        at = _closed(words, at + 1) if words[at + 1] in _CLOSES else min(at + 2, len(words) - 1)
    return min(at, len(words) - 1)


def _closed(words: list[str], at: int) -> int:
    """The bracket that closes the one at ``at``; ``at`` itself when it is none."""
    open_brackets = 0
    for now in range(at, len(words)):
        open_brackets += (words[now] in _CLOSES) - (words[now] in _CLOSES.values())
        if open_brackets <= 0:
            return now
    return len(words) - 1
