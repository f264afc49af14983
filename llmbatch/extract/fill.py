"""Walk a JSON Schema and fill it from a text."""

from __future__ import annotations

from collections.abc import Mapping

from llmbatch.extract import choose, numbers, strings
from llmbatch.extract import schema as schemas
from llmbatch.extract.dialog import Dialog
from llmbatch.extract.document import Document
from llmbatch.extract.schema import Schema
from llmbatch.types import Json

_DEEP = 6  #: levels from which only what must be there is filled, so that recursive schemas end
_DEEPEST = 40  #: levels at which a schema that never ends is given up
_USUAL = 5  #: elements in an array that names no bounds
_USUAL_CHOICES = 3
_SHARES = ("confidence", "score", "probability", "certainty", "likelihood", "relevance")
_POINTS = ("point", "sentence", "fact", "highlight", "step", "quote", "bullet", "takeaway", "finding", "action")


class Filler:
    """Fills one schema from one text. Deterministic: the same text and schema give the same value.

    Obeyed are type, enum, const, properties, required, items, prefixItems, the bounds of strings, numbers and arrays,
    format, uniqueItems, anyOf and oneOf (the first branch that works), allOf (merged), ``$ref`` within the schema and
    pattern (see :mod:`llmbatch.extract.pattern`). ``not``, ``if``, ``contains``, ``dependent*``, ``patternProperties``
    and ``minProperties`` are not; the judge finds what is wrong.
    """

    def __init__(self, dialog: Dialog, root: Schema) -> None:
        self._document = Document(dialog.text)
        self._definitions = dialog.definitions
        self._tries = dialog.tries
        self._root = root

    def value(self, schema: Json, name: str = "", place: int = 0, depth: int = 0) -> Json:
        """A value for a schema; ``place`` asks for another one than for ``place`` 0, where there is one."""
        here = schemas.flat(schema, self._root)
        if "const" in here:
            return here["const"]
        if here.get("enum"):
            return self._choice(here, place)
        if "anyOf" in here or "oneOf" in here:
            return self._branch(here, name, place, depth)
        if depth > _DEEPEST or (schemas.allows_null(here) and self._nothing_found(here, name, depth)):
            return None
        match schemas.kind(here):
            case "object":
                return self._object(here, depth)
            case "array":
                return self._array(here, name, depth)
            case "integer" | "number" as kind:
                return self._number(here, name, place, integer=kind == "integer")
            case "boolean":
                return choose.mentions(name, self._definitions, self._document) != bool(place % 2)
            case "null":
                return None
        return strings.string(here, name, self._document, place=place, tries=self._tries)

    def _choice(self, schema: Schema, place: int) -> Json:
        ranked = choose.scores(_allowed(schema), self._definitions, self._document)
        return ranked[place % len(ranked)][0]

    def _branch(self, schema: Schema, name: str, place: int, depth: int) -> Json:
        options = schemas.branches(schema, self._root)
        if depth > _DEEP:
            options.reverse()
        if schemas.is_null(options[-1]) and self._nothing_found(options[0], name, depth):
            return None
        values = [self.value(option, name, place, depth + 1) for option in options[:1]]
        for option in options[1:]:
            if schemas.is_valid(values[-1], schema, self._root):
                return values[-1]
            values.append(self.value(option, name, place, depth + 1))
        return values[-1] if schemas.is_valid(values[-1], schema, self._root) else values[0]

    def _nothing_found(self, schema: Schema, name: str, depth: int) -> bool:
        """Whether null is the honest answer: no such value in the text, or a level too deep."""
        kind = schemas.kind(schema)
        if not self._document.text or depth > _DEEP:
            return True
        if kind == "string" and strings.is_located(schema):
            return next(strings.located(schema, self._document), None) is None
        return kind in ("integer", "number") and not self._document.numbers and not _is_share(name)

    def _object(self, schema: Schema, depth: int) -> Json:
        properties = schema.get("properties", {})
        required = schema.get("required", ())
        others = schema.get("additionalProperties", {})
        wanted = [name for name in properties if depth <= _DEEP or name in required]
        wanted += [name for name in required if name not in properties]
        return {name: self.value(properties.get(name, others), name, depth=depth + 1) for name in wanted}

    def _array(self, schema: Schema, name: str, depth: int) -> Json:
        least, most = int(schema.get("minItems", 0)), int(schema.get("maxItems", 1_000))
        head = [self.value(part, name, i, depth + 1) for i, part in enumerate(schema.get("prefixItems", ())[:most])]
        items = schema.get("items", {})
        if items is False or len(head) == most:
            return head
        room, needed = most - len(head), max(0, least - len(head))
        each = schemas.flat(items, self._root)
        if each.get("enum") and not head:
            return self._choices(schema, _allowed(each), least, most)
        count = min(room, max(needed, 0 if head else self._elements(each, name, depth)))
        return head + self._elements_of(schema, items, name, count, needed, depth)

    def _choices(self, schema: Schema, values: list[Json], least: int, most: int) -> list[Json]:
        ranked = choose.scores(values, self._definitions, self._document)
        picked = choose.chosen(ranked, min(least, len(ranked)), min(most, max(_USUAL_CHOICES, least)))
        if schema.get("uniqueItems") or not picked:
            return picked
        return picked + [picked[0]] * (least - len(picked))

    def _elements(self, each: Schema, name: str, depth: int) -> int:
        if depth > _DEEP or not self._document.text:
            return 0
        if schemas.kind(each) == "string" and not strings.is_located(each):
            source = self._document.sentences if _is_points(name) else self._document.phrases
            return max(1, min(_USUAL, len(source)))
        return 1

    def _elements_of(self, schema: Schema, items: Json, name: str, count: int, least: int, depth: int) -> list[Json]:
        """``count`` values; distinct where the schema wants that, as far as there are different ones."""
        made: list[Json] = []
        inner = name if _is_points(name) or name.endswith(_SHARES) else "keyword"
        for place in range(count + (2 * least + 8 if schema.get("uniqueItems") else 0)):
            if len(made) == count:
                break
            value = self.value(items, inner, place, depth + 1)
            if not schema.get("uniqueItems") or not any(_same(value, other) for other in made):
                made.append(value)
        return made

    def _number(self, schema: Schema, name: str, place: int, *, integer: bool) -> int | float:
        if _is_share(name) and place == 0:
            low, high = numbers.span(schema)
            sure = choose.certainty(self._definitions, self._document)
            return numbers.fit(schema, low + sure * (high - low), integer=integer)
        seen = self._document.numbers
        if place < len(seen):
            return numbers.fit(schema, seen[place], integer=integer)
        low, _ = numbers.span(schema)
        return numbers.fit(schema, low + place * schema.get("multipleOf", 1), integer=integer)


def _allowed(schema: Schema) -> list[Json]:
    """The enum's values that are of the schema's type as well; null, if there, is the last resort."""
    values = list(schema["enum"])
    return [value for value in values if value is not None] or values


def _is_share(name: str) -> bool:
    return name.casefold().endswith(_SHARES)


def _is_points(name: str) -> bool:
    return any(word in name.casefold() for word in _POINTS)


def _same(left: Json, right: Json) -> bool:
    return bool(left == right) and isinstance(left, bool) == isinstance(right, bool)


def answer(dialog: Dialog, schema: Mapping[str, Json]) -> dict[str, Json]:
    """The object a schema asks for."""
    value = Filler(dialog, schema).value(schema)
    return value if isinstance(value, dict) else {}
