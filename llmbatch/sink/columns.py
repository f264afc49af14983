"""The columns that results add to a row: the output's fields, then how the row ended."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from llmbatch.errors import PipelineError
from llmbatch.sink.answer import Answer, Target
from llmbatch.source import ColumnType
from llmbatch.types import Json
from llmbatch.validate import output_fields
from llmbatch.validate.schema import resolve

_STRING, _FLOAT, _MIXED = ColumnType("string"), ColumnType("float"), ColumnType("mixed")
_OWN = {
    "llmbatch_status": _STRING,
    "llmbatch_error": _STRING,
    "llmbatch_key": _STRING,
    "llmbatch_model": _STRING,
    "llmbatch_prompt_version": _STRING,
    "llmbatch_cost_usd": _FLOAT,
}
_PLAIN = {"string": _STRING, "integer": ColumnType("int"), "number": _FLOAT, "boolean": ColumnType("bool")}
_OF_VALUES: dict[type, ColumnType] = {str: _STRING, int: ColumnType("int"), bool: ColumnType("bool")}


def added_columns(schema: Mapping[str, Json], prefix: str) -> dict[str, ColumnType]:
    """Names and types of the added columns, in order.

    A field's type is the one that its JSON Schema names, null aside; where there is none, or several, it is ``mixed``.
    An ``int`` without bounds comes from a schema. Fields that the schema allows but does not list get no column; they
    are in the stored reply.

    Raises PipelineError when a field would have the name of one of llmbatch's own columns.
    """
    fields = {prefix + name: _type(schema, field) for name, field in _fields(schema).items()}
    for name in fields:
        if name in _OWN:
            raise PipelineError(
                f'the output\'s field "{name}" has the name of a column that results always have',
                hint='rename it in the schema, or set [output] prefix = "..." in pipeline.toml',
            )
    return fields | _OWN


def values_of(target: Target) -> Callable[[Answer], dict[str, Json]]:
    """The function that gives the added columns of an answer: all of them, in order."""
    fields = [(target.prefix + name, name) for name in output_fields(target.schema)]
    nulls: dict[str, Json] = {column: None for column, _ in fields}
    version = target.prompt_version

    def values(answer: Answer) -> dict[str, Json]:
        output = answer.output
        line = dict(nulls) if output is None else {column: output.get(name) for column, name in fields}
        line["llmbatch_status"] = answer.status.value
        line["llmbatch_error"] = answer.error
        line["llmbatch_key"] = answer.key
        line["llmbatch_model"] = answer.model
        line["llmbatch_prompt_version"] = version
        line["llmbatch_cost_usd"] = None if answer.cost_usd is None else float(answer.cost_usd)
        return line

    return values


def _fields(schema: Mapping[str, Json]) -> Mapping[str, Json]:
    properties: Mapping[str, Json] = resolve(schema, schema.get("$ref", "#")).get("properties", {})
    return {name: properties[name] for name in output_fields(schema)}


def _type(schema: Mapping[str, Json], node: Json, seen: tuple[str, ...] = ()) -> ColumnType:
    """The type that ``node``, a part of ``schema``, names; ``seen`` are the references that led to it."""
    if not isinstance(node, Mapping):
        return _MIXED
    if "type" in node:
        return _named(schema, node, seen)
    if "$ref" in node:
        reference = node["$ref"]
        return _MIXED if reference in seen else _type(schema, resolve(schema, reference), (*seen, reference))
    if "enum" in node or "const" in node:
        return _of_values(node.get("enum", [node.get("const")]))
    for word in ("anyOf", "oneOf", "allOf"):
        if word in node:
            return _only([_type(schema, branch, seen) for branch in node[word] if branch != {"type": "null"}])
    return _MIXED


def _named(schema: Mapping[str, Json], node: Mapping[str, Json], seen: tuple[str, ...]) -> ColumnType:
    names = {node["type"]} if isinstance(node["type"], str) else set(node["type"])
    names -= {"null"}
    if names == {"integer", "number"}:
        return _FLOAT
    if len(names) != 1:
        return _MIXED
    (name,) = names
    if name == "array":
        return ColumnType("list", element=_type(schema, node["items"], seen)) if _is_list(node) else _MIXED
    if name == "object":
        fields = {key: _type(schema, value, seen) for key, value in node.get("properties", {}).items()}
        return ColumnType("object", fields=fields) if fields else _MIXED
    return _PLAIN[name]


def _is_list(node: Mapping[str, Json]) -> bool:
    return "items" in node and "prefixItems" not in node


def _of_values(values: Sequence[Json]) -> ColumnType:
    kinds = {type(value) for value in values if value is not None}
    return _OF_VALUES.get(kinds.pop(), _MIXED) if len(kinds) == 1 else _MIXED


def _only(types: Sequence[ColumnType]) -> ColumnType:
    return types[0] if types and all(each == types[0] for each in types) else _MIXED
