"""Records as an Avro object container file."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import fastavro

from pii_pipeline.contracts.record_type import ListOf, Node, Record, join, walk
from pii_pipeline.samples.errors import UnsatisfiableError

_SYNC = b"pii sample, sync"
"""What stands between blocks: 16 bytes that writers choose by chance, and that are to be the same here."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SCALARS = {"string": "string", "integer": "long", "number": "double", "boolean": "boolean"}
_RESERVED = ("null", "boolean", "int", "long", "float", "double", "bytes", "string")
_RESERVED += ("record", "enum", "array", "map", "fixed", "union", "error")
_DEEPEST = 3


class AvroWriter:
    """Writes records of the type `record`. Raises UnsatisfiableError for a name that Avro does not allow."""

    def __init__(self, record: Record) -> None:
        self._record = record
        self._schema = fastavro.parse_schema(avro_schema(record))
        self._beginning = self._container([])
        # A missing field is written as null, which its schema need not allow.
        self.whole = frozenset(path for path, _ in walk(record))
        self.torn_is = "object_malformed"

    def can_hold(self, text: str) -> bool:
        return True

    def as_read(self, record: dict[str, Any]) -> dict[str, Any]:
        return _declared(record, self._record)

    def begin(self) -> bytes:
        return self._beginning

    def write(self, records: Sequence[dict[str, Any]]) -> bytes:
        # Blocks follow the header, and do not know where they are.
        return self._container(records)[len(self._beginning) :]

    def instead_of(self, value: Any) -> Sequence[Any]:
        return ("n/a",) if isinstance(value, str) else ()

    def torn(self, record: dict[str, Any]) -> bytes | None:
        return None

    def _container(self, records: Iterable[dict[str, Any]]) -> bytes:
        file = io.BytesIO()
        try:
            fastavro.writer(file, self._schema, records, codec="deflate", sync_marker=_SYNC)
        except (ValueError, TypeError, OverflowError):
            mend = "declare one type and its properties in the schema"
            raise UnsatisfiableError("", "Avro's types", mend) from None
        return file.getvalue()


def avro_schema(record: Record) -> dict[str, Any]:
    """The Avro schema of records of this type; every field may be null."""
    return _named(record, "", "event", set(_RESERVED))


def _named(record: Record, path: str, wanted: str, taken: set[str]) -> dict[str, Any]:
    """The schema of the record at `path`; its name is not one of those `taken`, and joins them."""
    name = wanted
    while name in taken:
        name += "_"
    taken.add(name)
    return {"type": "record", "name": name, "fields": list(_fields(record, path, taken))}


def _fields(record: Record, path: str, taken: set[str]) -> Iterator[dict[str, Any]]:
    for name, node in record.fields:
        inside = join(path, name)
        if not _NAME.fullmatch(name):
            mend = "call it something of letters, digits and _ that starts with no digit"
            raise UnsatisfiableError(inside, "a name that Avro does not allow", mend)
        yield {"name": name, "type": _nullable(node, inside, name, taken), "default": None}


def _nullable(node: Node, path: str, name: str, taken: set[str]) -> list[Any]:
    if isinstance(node, Record):
        return ["null", _named(node, path, name, taken)]
    if isinstance(node, ListOf):
        return ["null", {"type": "array", "items": _nullable(node.element, f"{path}[]", name, taken)}]
    return _anything(_DEEPEST) if node.kind == "json" else ["null", _SCALARS[node.kind]]


def _anything(levels: int) -> list[Any]:
    """Any JSON value of at most so many levels of nesting."""
    if not levels:
        return ["null", *_SCALARS.values()]
    inside = _anything(levels - 1)
    return [*_anything(0), {"type": "array", "items": inside}, {"type": "map", "values": inside}]


def _declared(value: Any, node: Node) -> Any:
    """`value` without what its type does not declare."""
    if isinstance(node, Record) and isinstance(value, dict):
        return {name: _declared(value[name], child) for name, child in node.fields if name in value}
    if isinstance(node, ListOf) and isinstance(value, list):
        return [_declared(element, node.element) for element in value]
    return value
