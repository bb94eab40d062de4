"""The type of a record: a small tree of JSON types, and the Arrow schema it stands for.

A record type comes from the data contract's schema alone, never from the data, so that every batch of a
stream has the same columns. Each node is nullable: JSON Schema says whether null is *valid*, the type says
only how a value is *stored*.

Paths name the places in the tree: ``product/sku`` goes into a record, ``items[]/sku`` into every element of
a list. A name that itself contains ``/`` or ``~`` is written as in JSON Pointer (RFC 6901): ``~1``, ``~0``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import pyarrow as pa

ScalarKind = Literal["string", "integer", "number", "boolean", "json"]

_ARROW: dict[str, pa.DataType] = {
    "string": pa.string(),
    "integer": pa.int64(),
    "number": pa.float64(),
    "boolean": pa.bool_(),
    "json": pa.string(),
}


@dataclass(frozen=True, slots=True)
class Scalar:
    """A leaf. ``json`` is a value Arrow cannot name (several types, oneOf …): canonical JSON text."""

    kind: ScalarKind


@dataclass(frozen=True, slots=True)
class ListOf:
    """A list whose elements all have one type."""

    element: Node


@dataclass(frozen=True, slots=True)
class Record:
    """An object with declared keys, in the schema's order."""

    fields: tuple[tuple[str, Node], ...]

    def get(self, name: str) -> Node | None:
        """The type of the key `name`, or None if the schema does not declare it."""
        return dict(self.fields).get(name)


Node = Scalar | ListOf | Record


def arrow_type(node: Node) -> pa.DataType:
    """The Arrow type that stores values of `node` in ``validated_events``."""
    if isinstance(node, Scalar):
        return _ARROW[node.kind]
    if isinstance(node, ListOf):
        return pa.list_(arrow_type(node.element))
    return pa.struct([pa.field(name, arrow_type(child)) for name, child in node.fields])


def arrow_schema(record: Record) -> pa.Schema:
    """The columns of the contract's own fields in ``validated_events``."""
    return pa.schema([pa.field(name, arrow_type(child)) for name, child in record.fields])


def escape(name: str) -> str:
    """`name` as one part of a path."""
    return name.replace("~", "~0").replace("/", "~1")


Way = tuple[str | None, ...]
"""The way along a path: keys, and None for every element of a list."""

_PART = re.compile(r"((?:(?!\[\])[^~]|~[01])*)((?:\[\])*)")


def way(path: str) -> Way:
    """The way along `path`, which may begin in a list: ``[]/sku``. Raises ValueError if it is no path."""
    steps: list[str | None] = []
    for number, part in enumerate(path.split("/")):
        match = _PART.fullmatch(part)
        if match is None or not (match[1] or (number == 0 and match[2])):
            raise ValueError("not a path")
        if match[1]:
            steps.append(match[1].replace("~1", "/").replace("~0", "~"))
        steps += [None] * (len(match[2]) // 2)
    return tuple(steps)


def join(parent: str, name: str) -> str:
    """The path of key `name` inside the record at `parent` ("" is the event itself)."""
    return f"{parent}/{escape(name)}" if parent else escape(name)


def parent(path: str) -> str:
    """The path of the record or list that `path` leads into."""
    return path[:-2] if path.endswith("[]") else path.rpartition("/")[0]


def parents(path: str) -> Iterator[str]:
    """The paths of the records and lists around a field, the nearest first."""
    while path := parent(path):
        yield path


def walk(node: Node, path: str = "") -> Iterator[tuple[str, Node]]:
    """Every node below `node` with its path, parents before children; `node` itself is left out."""
    if isinstance(node, Record):
        for name, child in node.fields:
            child_path = join(path, name)
            yield child_path, child
            yield from walk(child, child_path)
    elif isinstance(node, ListOf):
        element = path + "[]"
        yield element, node.element
        yield from walk(node.element, element)
