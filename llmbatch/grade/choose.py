"""From [quality.graders] to graders."""

from __future__ import annotations

import re
from collections.abc import Mapping

from llmbatch.errors import PipelineError
from llmbatch.grade.grounded import Grounded
from llmbatch.grade.hook import Hook, Python
from llmbatch.grade.labels import Exact, SetAgreement
from llmbatch.grade.score import Grader
from llmbatch.grade.text import Compression, Length, Patterns, RougeL
from llmbatch.settings import ASKING, GraderSettings


def graders(settings: Mapping[str, GraderSettings], hook: Hook | None) -> dict[str, Grader]:
    """The graders of a pipeline that ask nobody, by name. ``hook`` is ``grade`` of hooks.py, if it has one.

    Raises PipelineError for a grader of kind "python" without it.
    """
    return {name: _grader(name, told, hook) for name, told in settings.items() if told.kind not in ASKING}


def _grader(name: str, told: GraderSettings, hook: Hook | None) -> Grader:
    field, gold = told.field or "", told.gold or ""
    match told.kind:
        case "exact":
            return Exact(field, gold, told.ignore_case)
        case "set":
            return SetAgreement(field, gold, told.ignore_case)
        case "rouge":
            return RougeL(field, gold)
        case "grounded":
            return Grounded(field, told.source)
        case "length":
            return Length(field, told.least, told.most, told.unit)
        case "compression":
            return Compression(field, told.source, told.least, told.most)
        case "pattern":
            return Patterns(field, _compiled(told.must, told), _compiled(told.must_not, told))
        case "python":
            if hook is None:
                raise PipelineError(
                    f"grader {name!r} is of kind python, and hooks.py defines no grade",
                    hint="def grade(output, row) -> float: from 0 to 1",
                )
            return Python(hook)
        case "judge" | "similarity":
            raise AssertionError(f"a grader of kind {told.kind} asks a model")


def _compiled(patterns: tuple[str, ...], told: GraderSettings) -> tuple[re.Pattern[str], ...]:
    return tuple(re.compile(text, re.IGNORECASE if told.ignore_case else 0) for text in patterns)
