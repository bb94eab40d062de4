"""Avro schemas (``.avsc``) into JSON Schema 2020-12.

The events may be JSON, or Avro whose values were written as JSON: bytes as ISO 8859-1 text, logical types as
the numbers or texts they are stored as.
"""

from __future__ import annotations

import re
from typing import Any

from pii_pipeline.contracts.schema import (
    DIALECT,
    MAX_NODES,
    TOO_MANY_FIELDS,
    Location,
    SchemaError,
    SchemaProblem,
    reserved,
)
from pii_pipeline.contracts.source import nearest

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
"""What Avro allows as a name."""

INT = {"type": "integer", "minimum": -(2**31), "maximum": 2**31 - 1}
LONG = {"type": "integer", "minimum": -(2**63), "maximum": 2**63 - 1}
_PRIMITIVES: dict[str, dict[str, Any]] = {
    "null": {"type": "null"},
    "boolean": {"type": "boolean"},
    "int": INT,
    "long": LONG,
    "float": {"type": "number"},
    "double": {"type": "number"},
    "bytes": {"type": "string"},
    "string": {"type": "string"},
}
_COMPLEX = ("record", "error", "enum", "array", "map", "fixed")


def json_schema(schema: Any) -> dict[str, Any]:
    """The JSON Schema of the values of an Avro record schema.

    A field with a default may be absent, as may one that is null; a union of null and one type is that type
    or null. A union of more, and a record inside itself, are anything: such values are stored as JSON text.
    Raises SchemaError with every problem found.
    """
    converter = _Converter()
    converted = converter.type(schema, (), "")
    if not converter.problems and not converted.get("properties"):
        converter.add((), "the root is not a record with fields", 'give it "type": "record" and "fields"')
    if converter.problems:
        raise SchemaError(*converter.problems)
    return {"$schema": DIALECT, **converted}


def nullable(schema: dict[str, Any]) -> dict[str, Any]:
    """`schema`, and null as well."""
    if "type" not in schema:
        return schema
    types = [schema["type"]] if isinstance(schema["type"], str) else schema["type"]
    values = {"enum": [*schema["enum"], None]} if "enum" in schema else {}
    return {**schema, "type": [*dict.fromkeys((*types, "null"))], **values}


class _Converter:
    """Goes through an Avro schema once; `named` are the types that later ones may refer to by name."""

    def __init__(self) -> None:
        self.problems: list[SchemaProblem] = []
        self._named: dict[str, tuple[dict[str, Any], Location, str]] = {}
        self._open: list[str] = []
        self._nodes = 0

    def add(self, location: Location, problem: str, mend: str) -> None:
        self.problems.append(SchemaProblem(location, problem, mend))

    def type(self, schema: Any, location: Location, space: str) -> dict[str, Any]:
        """The JSON Schema of one type; `space` is the namespace around it. {} where it is wrong."""
        self._nodes += 1
        if self._nodes > MAX_NODES:
            if self._nodes == MAX_NODES + 1:
                self.add((), *TOO_MANY_FIELDS)
            return {}
        if isinstance(schema, str):
            return self._reference(schema, location, space)
        if isinstance(schema, list):
            return self._union(schema, location, space)
        if not isinstance(schema, dict) or "type" not in schema:
            self.add(location, "not an Avro type", 'write a name ("string"), a union or {"type": …}')
            return {}
        kind, location = schema["type"], (*location, "type")
        if not isinstance(kind, str) or kind not in _COMPLEX:
            return _described(self.type(kind, location, space), schema)
        return _described(self._complex(kind, schema, location[:-1], space), schema)

    def _reference(self, name: str, location: Location, space: str) -> dict[str, Any]:
        if name in _PRIMITIVES:
            return _PRIMITIVES[name]
        full = name if "." in name or not space else f"{space}.{name}"
        if full in self._open:
            return {"type": "object"}
        if full in self._named:
            schema, declared, around = self._named[full]
            return _described(self._complex(schema["type"], schema, declared, around), schema)
        near = nearest(name, [*_PRIMITIVES, *_COMPLEX, *self._named])
        mend = f"did you mean `{near}`?" if near else "define the type before it is used"
        self.add(location, f"unknown type `{name}`", mend)
        return {}

    def _union(self, branches: list[Any], location: Location, space: str) -> dict[str, Any]:
        converted = [self.type(branch, (*location, i), space) for i, branch in enumerate(branches)]
        types = [part for part in converted if part != _PRIMITIVES["null"]]
        if not types:
            return _PRIMITIVES["null"]
        if len(types) > 1:
            return {}
        return types[0] if len(types) == len(branches) else nullable(types[0])

    def _complex(self, kind: str, schema: dict[str, Any], location: Location, space: str) -> dict[str, Any]:
        if kind == "array":
            return {"type": "array", "items": self._part(schema, "items", location, space)}
        if kind == "map":
            return {"type": "object", "additionalProperties": self._part(schema, "values", location, space)}
        full, space = self._define(schema, location, space)
        if kind == "enum":
            symbols = schema.get("symbols")
            if not isinstance(symbols, list) or not symbols or not all(isinstance(s, str) for s in symbols):
                self.add((*location, "symbols"), "not a list of texts", 'write "symbols": ["A", "B"]')
                return {}
            return {"type": "string", "enum": symbols}
        if kind == "fixed":
            size = schema.get("size")
            if not isinstance(size, int) or size < 0:
                self.add((*location, "size"), "not a number of bytes", 'write "size": 16')
                return {}
            return {"type": "string", "minLength": size, "maxLength": size}
        self._open.append(full)
        record = self._record(schema, location, space)
        self._open.pop()
        return record

    def _part(self, schema: dict[str, Any], key: str, location: Location, space: str) -> dict[str, Any]:
        if key in schema:
            return self.type(schema[key], (*location, key), space)
        self.add((*location, key), "is missing", f'add "{key}": and a type')
        return {}

    def _define(self, schema: dict[str, Any], location: Location, space: str) -> tuple[str, str]:
        """The full name of a named type and its namespace; from here on it can be referred to."""
        name = schema.get("name")
        if not isinstance(name, str) or not all(NAME.fullmatch(part) for part in name.split(".")):
            self.add((*location, "name"), "is no name", 'write "name": "Click", of letters, digits and _')
            return "", space
        around = schema.get("namespace", space)
        space = name.rpartition(".")[0] if "." in name else around if isinstance(around, str) else space
        full = f"{space}.{name.rpartition('.')[2]}" if space else name
        if full in self._named and self._named[full][1] != location:
            self.add((*location, "name"), f"`{full}` is defined twice", "rename one of them")
        self._named.setdefault(full, (schema, location, space))
        return full, space

    def _record(self, schema: dict[str, Any], location: Location, space: str) -> dict[str, Any]:
        fields = schema.get("fields")
        if not isinstance(fields, list):
            self.add(
                (*location, "fields"), "is no list of fields", 'write "fields": [{"name": …, "type": …}]'
            )
            return {}
        properties: dict[str, Any] = {}
        required: list[str] = []
        for number, field in enumerate(fields):
            here = (*location, "fields", number)
            name = field.get("name") if isinstance(field, dict) else None
            if not isinstance(name, str) or not NAME.fullmatch(name):
                self.add(here, "a field without a name", '{"name": "url", "type": "string"}')
                continue
            if name in properties:
                self.add((*here, "name"), f"the field `{name}` stands twice", "rename one of them")
            if not location and (wrong := reserved(name)):
                self.add((*here, "name"), *wrong)
            properties[name] = _described(self._part(field, "type", here, space), {"doc": field.get("doc")})
            if "default" not in field:
                required.append(name)
        return {"type": "object", "properties": properties, **({"required": required} if required else {})}


def _described(converted: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """`converted` with what `schema` says about it for people, before what was said further in."""
    said = [schema.get("doc"), converted.get("description")]
    if isinstance(logical := schema.get("logicalType"), str):
        said.insert(1, f"(Avro {logical}, as it is stored)")
    text = " ".join(part for part in said if isinstance(part, str) and part)
    return {**converted, "description": text} if text else converted
