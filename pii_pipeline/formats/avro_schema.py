"""The schema of an Avro file, which comes from a stranger: vetted before anything is decoded by it.

It is refused if by it a few bytes could become values without bound, or levels that fastavro's C code has no
stack for.
"""

from __future__ import annotations

import json
from typing import Any

import fastavro

from pii_pipeline.formats.problems import ObjectFault

ROW = "row"
NOTHING = {"type": "record", "name": "pii_pipeline_row", "fields": []}
"""A reader's schema that passes over the whole of a record."""

_SCHEMA_KEYS = {"type", "name", "namespace", "fields", "items", "values", "symbols", "size"}
"""What decoding needs: no logical types, no defaults for fastavro to judge, none of its own marks."""
_MAX_LEVELS = 200
_MAX_FREE_VALUES = 1000
_VALUES_PER_BYTE = 4
_FEWEST_BYTES = {"null": 0, "float": 4, "double": 8}
"""… of a value of a primitive type; of the others, 1."""


def vetted(text: bytes) -> tuple[Any, bool]:
    """The schema of a record whose one field, `ROW`, is the file's record; and whether it has floats in it.

    Raises `ObjectFault`: object_malformed.
    """
    named: dict[str, Any] = {}
    try:
        row = {**NOTHING, "fields": [{"name": ROW, "type": _bare(json.loads(text), 0)}]}
        schema: Any = fastavro.parse_schema(row, named)
        resolver = _Resolver(named)
        free_values, levels = resolver.record(schema)
    except ObjectFault:
        raise
    except Exception:  # noqa: BLE001 - of json's and fastavro's many, some with the schema's text
        raise ObjectFault("object_malformed", "the schema of the Avro file is none") from None
    if levels > _MAX_LEVELS:
        raise _refused("has too many levels")
    if free_values > _MAX_FREE_VALUES:
        raise _refused("has too many values that take no bytes")
    # Definitions stand in place of all names: fastavro need not gather them again for every record.
    return {**schema, "__named_schemas": {}}, bool(resolver.kinds & {"float", "double"})


def _refused(what: str) -> ObjectFault:
    return ObjectFault("object_malformed", f"the schema of the Avro file {what}")


def _bare(schema: Any, level: int) -> Any:
    """`schema` with nothing but what decoding needs."""
    if level > _MAX_LEVELS:
        raise _refused("has too many levels")
    if isinstance(schema, list):
        return [_bare(part, level + 1) for part in schema]
    if isinstance(schema, dict):
        return {key: _bare(schema[key], level + 1) for key in schema if key in _SCHEMA_KEYS}
    return schema


class _Resolver:
    """Puts definitions in the place of names, in place, and finds how much can come of how few bytes.

    That is the most values, in excess of `_VALUES_PER_BYTE` for every byte, that a type can have. If it is
    above 0 for the elements of a list, no number of bytes bounds the list; for a record it is what may come
    on top. fastavro goes as many levels deep as a schema has: where it refers to itself, as deep as data say.
    """

    def __init__(self, named: dict[str, Any]) -> None:
        self._named = named
        self._records: dict[str, tuple[int, int] | None] = {}  # None: within it now
        self.kinds: set[str] = set()

    def record(self, schema: dict[str, Any]) -> tuple[int, int]:
        """The excess and the levels of a record."""
        name = schema["name"]
        if name in self._records:
            known = self._records[name]
            if known is None:
                raise _refused("refers to itself")
            return known
        self._records[name] = None
        names = [field["name"] for field in schema["fields"]]
        if len(set(names)) < len(names) or not all(isinstance(name, str) for name in names):
            raise _refused("has a record with two fields of one name")
        excess, levels = 1, 0
        for field in schema["fields"]:
            field["type"], more, below = self._resolve(field["type"])
            excess += more
            levels = max(levels, below)
        self._records[name] = excess, levels + 1
        return excess, levels + 1

    def _resolve(self, schema: Any) -> tuple[Any, int, int]:
        if isinstance(schema, list):
            branches = [self._resolve(branch) for branch in schema]
            most = max((excess for _, excess, _ in branches), default=0)
            levels = max((levels for _, _, levels in branches), default=0)
            return [branch for branch, _, _ in branches], most - _VALUES_PER_BYTE, levels + 1
        if isinstance(schema, str):
            schema = self._named.get(schema, schema)
        kind = schema["type"] if isinstance(schema, dict) else schema
        self.kinds.add(kind)
        if kind in ("record", "error"):
            return schema, *self.record(schema)
        if kind in ("array", "map"):
            part = "items" if kind == "array" else "values"
            schema[part], excess, levels = self._resolve(schema[part])
            if excess > (0 if kind == "array" else _VALUES_PER_BYTE):
                raise _refused("has lists of values that take no bytes")
            return schema, 1 - _VALUES_PER_BYTE, levels + 1
        size = schema["size"] if kind == "fixed" else _FEWEST_BYTES.get(kind, 1)
        return schema, 1 - _VALUES_PER_BYTE * size, 0
