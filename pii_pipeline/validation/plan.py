"""What the vectorised screen looks at: a JSON Schema and its record type compiled into levels.

A *level* is a table of JSON values of one shape: the events themselves, or the elements of one list field.
Within a level, a *slot* is a place that can be reached through objects alone; slot 0 is the value itself.

The screen accepts only what it is sure of, so the plan leaves out every property it cannot judge (a keyword
that is not handled here, a value of several types, a name that DuckDB's JSON paths cannot spell). A record
that has such a property then has more keys than the plan knows, and goes to the strict path like one with an
undeclared key. If the property is required, that would be every record, so the object around it is left out
too, and so on upwards; with the root left out there is no plan.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

import pyarrow as pa

from pii_pipeline.contracts.record_type import ListOf, Node, Record, Scalar
from pii_pipeline.contracts.schema import Dialect
from pii_pipeline.validation import checks
from pii_pipeline.validation.checks import Check, NotVectorisable
from pii_pipeline.validation.patterns import to_re2

_KINDS = {
    "string": ("VARCHAR", pa.string()),
    "integer": ("JSON", pa.int64()),
    "number": ("JSON", pa.float64()),
    "boolean": ("JSON", pa.bool_()),
    "object": ("", pa.null()),
    "array": (["JSON"], pa.null()),
}
"""DuckDB's name of what it is to give for a value, and the type of what is made of that. Its casts take "12"
and true for numbers: of all but texts it gives the JSON, which tells what it was."""

_ANNOTATIONS = frozenset((
    "$schema", "$id", "id", "$comment", "$defs", "definitions", "self", "title", "description", "default",
    "examples", "format", "deprecated", "readOnly", "writeOnly", "contentEncoding", "contentMediaType",
    "contentSchema",
))  # fmt: skip
_HANDLED = _ANNOTATIONS | frozenset((
    "type", "enum", "const", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "minLength",
    "maxLength", "pattern", "minItems", "maxItems", "items", "additionalItems", "properties", "required",
    "additionalProperties",
))  # fmt: skip


@dataclass(frozen=True)
class Level:
    """The slots of one table of JSON values and everything known about them.

    `kinds` and `nullable` (may it be null?) are indexed by slot. `objects`: each object's slot with those of
    its known keys, after the objects in it; `required`: (slot of the object, slot of the key). `lists`: slot
    and level of the elements. `checks` run over the typed values at a slot. `structure` says to DuckDB what
    to give, with the elements of lists left as JSON; `type` is that of the typed values in full.
    """

    names: tuple[tuple[str, ...], ...]
    kinds: tuple[str, ...]
    nullable: tuple[bool, ...]
    objects: tuple[tuple[int, tuple[int, ...]], ...]
    required: tuple[tuple[int, int], ...]
    lists: tuple[tuple[int, Level], ...]
    checks: tuple[tuple[int, tuple[Check, ...]], ...]
    structure: Any
    type: pa.DataType


@dataclass
class _Place:
    kind: str
    nullable: bool
    structure: Any
    type: pa.DataType
    checks: list[Check] = field(default_factory=list)
    children: dict[str, _Place] = field(default_factory=dict)
    required: list[str] = field(default_factory=list)
    element: Level | None = None


class _Opaque(Exception):
    """This part of the schema is beyond the screen."""


def compile_plan(record: Record, schema: dict[str, Any], dialect: Dialect) -> Level | None:
    """The level of the events themselves; None if the screen can accept no event of this schema."""
    try:
        return _level(_Compiler(schema, dialect).place(record, schema, at_root=True))
    except _Opaque:
        return None


def field_checks(
    record: Record, schema: dict[str, Any], dialect: Dialect
) -> tuple[dict[str, tuple[Check, ...] | None], tuple[str, ...]] | None:
    """For the scalars at the top of a record: the checks that stand for what the schema says of each (None:
    beyond any check); and the names that are required. None if it says more than that about whole records."""
    compiler = _Compiler(schema, dialect)
    try:
        whole = compiler.resolve(schema, at_root=True)
        if not whole.keys() <= _HANDLED or whole.get("additionalProperties", True) is not True:
            return None
        if compiler.listed(whole) is not None:
            return None
    except _Opaque:
        return None
    found: dict[str, tuple[Check, ...] | None] = {}
    for name, node in record.fields:
        if isinstance(node, Scalar) and node.kind != "json":
            try:
                found[name] = tuple(compiler.place(node, whole["properties"][name]).checks)
            except _Opaque:
                found[name] = None
    return found, tuple(whole.get("required", ()))


class _Compiler:
    def __init__(self, root: dict[str, Any], dialect: Dialect) -> None:
        self.root = root
        self.draft4 = dialect == "draft-04"

    def place(self, node: Node, schema: Any, at_root: bool = False) -> _Place:
        """Everything the screen has to know about values of `node` under `schema`. Raises _Opaque."""
        schema = self.resolve(schema, at_root)
        if not schema.keys() <= _HANDLED:
            raise _Opaque
        kind = node.kind if isinstance(node, Scalar) else "object" if isinstance(node, Record) else "array"
        if kind == "json":
            raise _Opaque
        structure, type = _KINDS[kind]
        place = _Place(kind, self.nullable(kind, schema), structure, type)
        try:
            if isinstance(node, Record):
                self.object(place, node, schema)
            elif isinstance(node, ListOf):
                self.array(place, node, schema)
            else:
                place.checks = [*self.scalar(node.kind, schema)]
        except NotVectorisable:
            raise _Opaque from None
        return place

    def resolve(self, schema: Any, at_root: bool) -> dict[str, Any]:
        """`schema` with its references followed."""
        for _ in range(100):
            if schema is True:
                return {}
            if not isinstance(schema, dict) or (not at_root and ("$id" in schema or "id" in schema)):
                raise _Opaque
            if "$ref" not in schema:
                return schema
            if not self.draft4 and not schema.keys() <= _ANNOTATIONS | {"$ref"}:
                raise _Opaque
            schema = self.target(schema["$ref"])
            at_root = schema is self.root
        raise _Opaque

    def target(self, reference: str) -> Any:
        value: Any = self.root
        pointer = unquote(reference.removeprefix("#"))
        for part in pointer.split("/")[1:]:
            part = part.replace("~1", "/").replace("~0", "~")
            if not isinstance(value, dict) or part not in value:
                raise _Opaque
            value = value[part]
        if not reference.startswith("#") or (pointer and not pointer.startswith("/")):
            raise _Opaque
        return value

    def nullable(self, kind: str, schema: dict[str, Any]) -> bool:
        """Does the schema of a value of `kind` allow null?"""
        types = schema.get("type", [kind, "null"])
        types = [types] if isinstance(types, str) else types
        if kind not in types:
            raise _Opaque
        listed = self.listed(schema)
        return "null" in types and (listed is None or None in listed)

    def listed(self, schema: dict[str, Any]) -> list[Any] | None:
        """The values that `enum` or `const` allows; None if there is neither."""
        if "const" in schema and not self.draft4:
            if "enum" in schema:
                raise _Opaque
            return [schema["const"]]
        return schema.get("enum")

    def scalar(self, kind: str, schema: dict[str, Any]) -> list[Check]:
        found: list[Check] = []
        if kind == "number":
            found.append(checks.finite)
        listed = self.listed(schema)
        if listed is not None:
            found.append(checks.one_of(kind, listed))
        if kind == "string":
            if "minLength" in schema or "maxLength" in schema:
                most = schema.get("maxLength")
                found.append(
                    checks.length(kind, int(schema.get("minLength", 0)), None if most is None else int(most))
                )
            if "pattern" in schema:
                re2 = to_re2(schema["pattern"], "ecma")
                if re2 is None:
                    raise _Opaque
                found.append(checks.matches(re2))
        elif kind in ("integer", "number"):
            found.extend(self.bounds(kind, schema))
        return found

    def bounds(self, kind: str, schema: dict[str, Any]) -> list[Check]:
        least, most = schema.get("minimum"), schema.get("maximum")
        above, below = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
        if self.draft4:  # there, exclusive* are flags on minimum and maximum
            above, below = (least if above else None), (most if below else None)
        return [
            checks.between(kind, low, high, open=open)
            for low, high, open in ((least, most, False), (above, below, True))
            if low is not None or high is not None
        ]

    def array(self, place: _Place, node: ListOf, schema: dict[str, Any]) -> None:
        if self.listed(schema) is not None or not isinstance(schema.get("items"), dict | bool):
            raise _Opaque
        element = self.place(node.element, schema["items"])
        place.element = _level(element)
        place.type = pa.list_(place.element.type)
        if "minItems" in schema or "maxItems" in schema:
            most = schema.get("maxItems")
            place.checks.append(
                checks.length("list", int(schema.get("minItems", 0)), None if most is None else int(most))
            )

    def object(self, place: _Place, node: Record, schema: dict[str, Any]) -> None:
        if self.listed(schema) is not None:
            raise _Opaque
        declared = schema.get("properties", {})
        # DuckDB compares the names of a struct's fields without regard to case.
        spellings = Counter(name.lower() for name, _ in node.fields)
        for name, child in node.fields:
            if name in declared and spellings[name.lower()] == 1 and _can_be_spelt(name):
                try:
                    place.children[name] = self.place(child, declared[name])
                except _Opaque:
                    continue
        place.required = schema.get("required", [])
        if not place.children or not place.children.keys() >= set(place.required):
            raise _Opaque
        place.structure = {name: child.structure for name, child in place.children.items()}
        place.type = pa.struct([(name, child.type) for name, child in place.children.items()])


def _can_be_spelt(name: str) -> bool:
    """Can a JSON path and a structure of DuckDB's name it? (A NUL ends a name, a star is a wildcard.)"""
    return bool(name) and "*" not in name and name.isprintable()


def _level(root: _Place) -> Level:
    """The slots of the tree below `root`, numbered from the top."""
    names: list[tuple[str, ...]] = []
    places: list[_Place] = []
    objects: list[tuple[int, tuple[int, ...]]] = []
    required: list[tuple[int, int]] = []

    def add(place: _Place, way: tuple[str, ...]) -> int:
        slot = len(places)
        names.append(way)
        places.append(place)
        if place.children:
            slots = {name: add(child, (*way, name)) for name, child in place.children.items()}
            objects.append((slot, tuple(slots.values())))
            required.extend((slot, slots[name]) for name in place.required)
        return slot

    add(root, ())
    return Level(
        names=tuple(names),
        kinds=tuple(place.kind for place in places),
        nullable=tuple(place.nullable for place in places),
        objects=tuple(objects),
        required=tuple(required),
        lists=tuple((slot, place.element) for slot, place in enumerate(places) if place.element),
        checks=tuple((slot, tuple(place.checks)) for slot, place in enumerate(places) if place.checks),
        structure=root.structure,
        type=root.type,
    )
