"""JSON Schema into a record type.

Two dialects: 2020-12 (also where ``$schema`` is absent) and draft-04, which Snowplow's self-describing
schemas are written in. Every value that is valid under the schema can be stored as its node of the type;
where no single Arrow type can promise that, the node is ``Scalar("json")``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import unquote

import jsonschema_rs

from pii_pipeline.contracts.record_type import ListOf, Node, Record, Scalar, ScalarKind, join

Dialect = Literal["2020-12", "draft-04"]

VALIDATORS: dict[Dialect, type[jsonschema_rs.Draft4Validator] | type[jsonschema_rs.Draft202012Validator]] = {
    "2020-12": jsonschema_rs.Draft202012Validator,
    "draft-04": jsonschema_rs.Draft4Validator,
}
_META: dict[Dialect, str] = {
    "2020-12": "https://json-schema.org/draft/2020-12/schema",
    "draft-04": "http://json-schema.org/draft-04/schema",
}
DIALECT = _META["2020-12"]
_SELF_DESCRIBING = "iglucentral.com/schemas/com.snowplowanalytics.self-desc/schema/jsonschema/"

MAX_NODES = 10_000
"""More places than that in one record type is a mistake (definitions that refer to each other crosswise)."""

TOO_MANY_FIELDS = (
    f"more than {MAX_NODES:,} fields",
    "leave deep parts undeclared: an object without properties is stored as JSON text",
)
"""Problem and mend."""

_SCALARS: dict[str, ScalarKind] = {
    "string": "string",
    "integer": "integer",
    "number": "number",
    "boolean": "boolean",
}
_SCHEMA = ("additionalItems", "additionalProperties", "contains", "else", "if", "items", "not")
_SCHEMA += ("propertyNames", "then", "unevaluatedItems", "unevaluatedProperties")
_SCHEMA_LIST = ("allOf", "anyOf", "items", "oneOf", "prefixItems")
_SCHEMA_MAP = ("$defs", "definitions", "dependencies", "dependentSchemas", "patternProperties", "properties")

Location = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class SchemaProblem:
    """What is wrong at one place of a schema; `location` is the way there (keys and positions)."""

    location: Location
    problem: str
    mend: str


class SchemaError(ValueError):
    """A schema that gives no record type."""

    def __init__(self, *problems: SchemaProblem) -> None:
        super().__init__(*problems)

    @property
    def problems(self) -> tuple[SchemaProblem, ...]:
        return self.args

    def __str__(self) -> str:
        return "; ".join(f"{'/'.join(map(str, p.location))}: {p.problem} — {p.mend}" for p in self.problems)


@dataclass(frozen=True, slots=True)
class CompiledSchema:
    """The record type, and for the path of each of its nodes the part of the schema it comes from
    (references followed)."""

    record: Record
    parts: dict[str, dict[str, Any]]

    @property
    def descriptions(self) -> dict[str, str]:
        """What the schema says of each node that it describes, in one line."""
        said = {path: part.get("description") for path, part in self.parts.items()}
        return {path: " ".join(text.split()) for path, text in said.items() if isinstance(text, str)}


def dialect(schema: dict[str, Any]) -> Dialect:
    """The dialect that ``$schema`` names. Raises SchemaError for any other."""
    uri = schema.get("$schema", _META["2020-12"])
    for known, meta in _META.items():
        if isinstance(uri, str) and uri.removesuffix("#") == meta:
            return known
    if isinstance(uri, str) and uri.partition("://")[2].startswith(_SELF_DESCRIBING):
        return "draft-04"
    mend = f"one of {', '.join(_META.values())} (most draft-06 and draft-07 schemas are valid 2020-12 too)"
    raise SchemaError(SchemaProblem(("$schema",), f"unknown dialect {uri!r}", mend))


def compile_schema(schema: Any) -> CompiledSchema:
    """The record type of a JSON Schema whose root is an object with declared properties.

    Raises SchemaError with every problem found: invalid under its metaschema, a reference that leads out of
    the file or nowhere, a root that is no object, a property name that cannot be a column.
    """
    if not isinstance(schema, dict):
        raise SchemaError(SchemaProblem((), "not a JSON Schema", "the root is one object"))
    known = dialect(schema)
    problems = [*_invalid(schema, known)] or [*_unreachable(schema, known)]
    if not problems:
        compiler = _Compiler(schema, known)
        record = compiler.root()
        problems = compiler.problems
        if not problems:
            return CompiledSchema(record, compiler.parts)
    raise SchemaError(*problems)


def reserved(name: str) -> tuple[str, str] | None:
    """Problem and mend if no property at the top level may be called `name`."""
    if name.startswith("_"):
        return f"the property {name!r} starts with `_`, as the pipeline's own columns do", "rename it"
    return None


def resolve(schema: Any, root: dict[str, Any]) -> Any:
    """`schema` with its reference into `root`, and what that refers to in turn, followed.

    In draft-04 a reference stands for its target alone; in 2020-12 its siblings hold too, and are laid over
    the target. A reference that only leads to itself is ``{}``. Raises SchemaError for one that leads out
    of `root` or nowhere.
    """
    found = _follow(schema, (), root, dialect(root), frozenset())
    return {} if found is None else found[0]


def _follow(
    schema: Any, location: Location, root: dict[str, Any], known: Dialect, followed: frozenset[str]
) -> tuple[Any, Location, frozenset[str]] | None:
    """What the schema at `location` refers to, where that is, and the references followed so far; None if
    one of these comes again."""
    while isinstance(schema, dict) and isinstance(schema.get("$ref"), str):
        reference = schema["$ref"]
        if reference in followed:
            return None
        followed = followed | {reference}
        target, location = _target(reference, root), _pointer(reference)
        siblings = {} if known == "draft-04" else {k: v for k, v in schema.items() if k != "$ref"}
        schema = _overlay(target, siblings) if isinstance(target, dict) else target
    return schema, location, followed


def _overlay(target: dict[str, Any], siblings: dict[str, Any]) -> dict[str, Any]:
    merged = {**target, **siblings}
    if "properties" in target and "properties" in siblings:
        merged["properties"] = {**target["properties"], **siblings["properties"]}
    return merged


def _pointer(reference: str) -> Location:
    """The parts of ``#/$defs/name``."""
    parts = unquote(reference[1:]).split("/")[1:]
    return tuple(part.replace("~1", "/").replace("~0", "~") for part in parts)


def _target(reference: str, root: dict[str, Any]) -> Any:
    pointer = unquote(reference[1:])
    if not reference.startswith("#") or (pointer and not pointer.startswith("/")):
        mend = "copy the definition into this file and refer to it as #/$defs/NAME"
        raise SchemaError(SchemaProblem((), f"the reference {reference!r} leads out of the file", mend))
    value: Any = root
    for part in map(str, _pointer(reference)):
        if isinstance(value, dict) and part in value:
            value = value[part]
        elif isinstance(value, list) and part.isdecimal() and int(part) < len(value):
            value = value[int(part)]
        else:
            mend = "mend the reference, or add the definition"
            raise SchemaError(SchemaProblem((), f"the reference {reference!r} leads nowhere", mend))
    return value


def _invalid(schema: dict[str, Any], known: Dialect) -> Iterator[SchemaProblem]:
    """Everything the dialect's metaschema says against `schema`."""
    meta = VALIDATORS[known]({"$ref": _META[known] + "#"}, validate_formats=True, offline=True)
    for error in meta.iter_errors(schema):
        yield SchemaProblem(
            tuple(error.instance_path), f"not valid {known}: {error.message}", "mend the schema"
        )


def _subschemas(schema: Any, location: Location = ()) -> Iterator[tuple[Location, dict[str, Any]]]:
    """`schema` and every schema inside it; values that are data (enum, default …) are left out."""
    if not isinstance(schema, dict):
        return
    yield location, schema
    for keyword, value in schema.items():
        here = (*location, keyword)
        if keyword in _SCHEMA and isinstance(value, dict):
            yield from _subschemas(value, here)
        elif keyword in _SCHEMA_LIST and isinstance(value, list):
            for number, element in enumerate(value):
                yield from _subschemas(element, (*here, number))
        elif keyword in _SCHEMA_MAP and isinstance(value, dict):
            for name, element in value.items():
                yield from _subschemas(element, (*here, name))


def _unreachable(schema: dict[str, Any], known: Dialect) -> Iterator[SchemaProblem]:
    """References that cannot be followed within the file, and whatever else the validator cannot build."""
    clean = True
    identifier = "id" if known == "draft-04" else "$id"
    for location, part in _subschemas(schema):
        if location and isinstance(part.get(identifier), str):
            clean = False
            mend = f"remove the inner {identifier}: references start at the root of the file"
            yield SchemaProblem((*location, identifier), "a schema within the schema", mend)
        if isinstance(part.get("$ref"), str):
            try:
                _target(part["$ref"], schema)
            except SchemaError as error:
                clean = False
                (problem,) = error.problems
                yield SchemaProblem((*location, "$ref"), problem.problem, problem.mend)
    if clean:
        try:
            VALIDATORS[known](schema, offline=True)
        except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError) as error:
            location = tuple(getattr(error, "instance_path", ()))
            yield SchemaProblem(location, error.message, "mend the schema")


class _Compiler:
    def __init__(self, schema: dict[str, Any], known: Dialect) -> None:
        self.schema = schema
        self.dialect: Dialect = known
        self.parts: dict[str, dict[str, Any]] = {}
        self.problems: list[SchemaProblem] = []
        self._nodes = 0

    def root(self) -> Record:
        found = _follow(self.schema, (), self.schema, self.dialect, frozenset())
        part, location, _ = found or ({}, (), None)
        if (
            not isinstance(part, dict)
            or _types(part, self.dialect) != ["object"]
            or not part.get("properties")
        ):
            problem = "the root is not an object with declared properties"
            self._add((), problem, 'give it "type": "object" and "properties"')
            return Record(())
        return self._record(part, location, "", frozenset({"#"}))

    def _add(self, location: Location, problem: str, mend: str) -> None:
        self.problems.append(SchemaProblem(location, problem, mend))

    def _record(
        self, part: dict[str, Any], location: Location, path: str, followed: frozenset[str]
    ) -> Record:
        fields: list[tuple[str, Node]] = []
        for name, child in part["properties"].items():
            here = (*location, "properties", name)
            if not name or name.endswith("[]"):
                self._add(here, f"no path can name the property {name!r}", "rename it")
            elif not path and (wrong := reserved(name)):
                self._add(here, *wrong)
            else:
                fields.append((name, self._node(child, here, join(path, name), followed)))
        return Record(tuple(fields))

    def _node(self, schema: Any, location: Location, path: str, followed: frozenset[str]) -> Node:
        self._nodes += 1
        if self._nodes == MAX_NODES:
            self._add((), *TOO_MANY_FIELDS)
        found = _follow(schema, location, self.schema, self.dialect, followed)
        if found is None or self._nodes >= MAX_NODES:
            self.parts[path] = {}
            return Scalar("json")
        part, location, followed = found
        if not isinstance(part, dict):
            part = {}
        self.parts[path] = part
        types = [name for name in _types(part, self.dialect) if name != "null"]
        if len(types) == 1:
            if types[0] in _SCALARS:
                return Scalar(_SCALARS[types[0]])
            if types[0] == "object" and part.get("properties"):
                return self._record(part, location, path, followed)
            items = part.get("items")
            one_type = items is not None and not isinstance(items, list) and "prefixItems" not in part
            if types[0] == "array" and one_type:
                return ListOf(self._node(items, (*location, "items"), path + "[]", followed))
        return Scalar("json")


def _types(part: dict[str, Any], known: Dialect) -> list[str]:
    """The JSON types that `part` names, or those of the values it lists."""
    if "type" in part:
        return [part["type"]] if isinstance(part["type"], str) else part["type"]
    if "enum" in part:
        values = part["enum"]
    elif "const" in part and known != "draft-04":
        values = [part["const"]]
    else:
        return []
    types = {_type_of(value) for value in values}
    return sorted(types - {"integer"} if {"integer", "number"} <= types else types)


def _type_of(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    names = {str: "string", int: "integer", float: "number", dict: "object", list: "array"}
    return names[type(value)]
