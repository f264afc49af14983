"""JSON Schema: is the schema usable, what does it describe, what is wrong with a value."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from typing import Any

import jsonschema_rs
from jsonschema_rs import ValidationError, ValidationErrorKind

from llmbatch.types import Json

MOST_PROBLEMS = 10
LONGEST_PROBLEM = 200  #: characters


def check_schema(schema: Json) -> None:
    """Make sure that a schema can judge outputs. Nothing is ever fetched: references must be local.

    Raises:
        ValueError: no JSON object, invalid JSON Schema, a reference that is not in the schema itself, or a top
            level other than ``"type": "object"``; the message says where and what.
    """
    if not isinstance(schema, Mapping):
        raise ValueError("a JSON Schema must be a JSON object")
    try:
        jsonschema_rs.validator_for(dict(schema), offline=True)
    except ValidationError as error:
        raise ValueError(_schema_problem(error)) from None
    if _top_level(schema).get("type") != "object":
        raise ValueError('the top level must have "type": "object", because its properties become columns')


def output_fields(schema: Mapping[str, Json]) -> tuple[str, ...]:
    """The names of an output's top-level fields, in the schema's order."""
    return tuple(_top_level(schema).get("properties", ()))


def validator_of(schema: Mapping[str, Json]) -> jsonschema_rs.Validator:
    """A validator that checks formats, opens no connection, and names no value in its messages.

    The dialect is the one that ``$schema`` names, else 2020-12.
    """
    return jsonschema_rs.validator_for(dict(schema), validate_formats=True, offline=True, mask="the value")


def problems_of(validator: jsonschema_rs.Validator, value: Json) -> tuple[str, ...]:
    """What is wrong with a value, as ``path: problem``, at most ten; empty when it is valid."""
    return tuple(
        cut(f"{_path(e.instance_path)}: {_words(e)}") for e in islice(validator.iter_errors(value), MOST_PROBLEMS)
    )


def cut(text: str, most: int = LONGEST_PROBLEM) -> str:
    """Text on one line, of at most so many characters."""
    line = " ".join(text[: 4 * most].split())
    return line if len(line) <= most else line[: most - 1] + "…"


def _words(error: ValidationError) -> str:
    """The message; where no branch fits, with what each of them misses."""
    match error.kind:
        case ValidationErrorKind.AnyOf(context=branches) | ValidationErrorKind.OneOfNotValid(context=branches):
            return "none of these holds: " + "; ".join(_words(branch[0]) for branch in branches if branch)
    return error.message


def _path(path: list[str | int]) -> str:
    """``tags[2].name``; ``top level`` for the value itself."""
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
    return text.removeprefix(".") or "top level"


def _schema_problem(error: ValidationError) -> str:
    if "retrieving it failed" in error.message:
        return 'a "$ref" leads out of the schema; write the definition under "$defs" and refer to "#/$defs/NAME"'
    return f"no valid JSON Schema: {_path(error.instance_path)}: {cut(_words(error))}"


def _top_level(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """The schema, or what its top-level ``$ref`` leads to, as pydantic writes recursive models."""
    return resolve(schema, schema.get("$ref", "#"))


def resolve(schema: Mapping[str, Any], reference: str) -> Mapping[str, Any]:
    """The object that a local reference (``#/$defs/NAME``) leads to; empty when there is none."""
    node: Any = schema
    for step in reference.removeprefix("#").split("/")[1:]:
        node = node.get(step.replace("~1", "/").replace("~0", "~")) if isinstance(node, Mapping) else None
    return node if isinstance(node, Mapping) and reference.startswith("#") else {}
