"""The columns of several versions of a contract: where they differ, and all of them in one table.

Columns are those of an Arrow schema; records inside them are gone through field by field. Paths are those of
the contract (see `record_type`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import pyarrow as pa

from pii_pipeline.contracts.record_type import join


class Difference(NamedTuple):
    """A place where two types differ; None where one of them has nothing there."""

    path: str
    first: pa.DataType | None
    second: pa.DataType | None


def differences(first: pa.Schema, second: pa.Schema) -> Iterator[Difference]:
    """Where two schemas differ, in the order of the first; nullability and the order of columns aside."""
    yield from _differences(pa.struct(list(first)), pa.struct(list(second)), "")


def clashes(first: pa.Schema, second: pa.Schema) -> list[Difference]:
    """Where both have something, of different types: no table can hold rows of both."""
    return [found for found in differences(first, second) if found.first is not None is not found.second]


def union(schemas: Sequence[pa.Schema]) -> pa.Schema:
    """The columns of all, those of the first in its order, then what each of the others adds; also inside
    records. Raises ValueError where they clash."""
    merged, *others = schemas
    for other in others:
        if clashing := clashes(merged, other):
            raise ValueError(f"{clashing[0].path} has two types")
        merged = pa.schema(_fields(pa.struct(list(merged)), pa.struct(list(other))))
    return merged


def widened(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """`table` with the columns of `schema`, null where it has none, also inside records.

    Its columns that are text may be dictionary-encoded, and stay so.
    """
    columns = []
    for field in schema:
        at = table.schema.get_field_index(field.name)
        if at < 0:
            columns.append(pa.nulls(table.num_rows, field.type))
            continue
        column = table.column(at)
        nested = pa.types.is_nested(field.type) and column.type != field.type
        columns.append(column.cast(field.type) if nested else column)
    return pa.table(columns, names=schema.names)


def _differences(first: pa.DataType, second: pa.DataType, path: str) -> Iterator[Difference]:
    if pa.types.is_struct(first) and pa.types.is_struct(second):
        ours, theirs = ({field.name: field.type for field in type} for type in (first, second))
        for name in dict.fromkeys([*ours, *theirs]):
            here = join(path, name)
            if name in ours and name in theirs:
                yield from _differences(ours[name], theirs[name], here)
            else:
                yield Difference(here, ours.get(name), theirs.get(name))
    elif pa.types.is_list(first) and pa.types.is_list(second):
        yield from _differences(first.value_type, second.value_type, path + "[]")
    elif first != second:
        yield Difference(path, first, second)


def _fields(first: pa.StructType, second: pa.StructType) -> list[pa.Field]:
    ours, theirs = ({field.name: field for field in type} for type in (first, second))
    return [
        pa.field(name, _type(ours[name].type, theirs[name].type), ours[name].nullable)
        if name in ours and name in theirs
        else (ours.get(name) or theirs[name])
        for name in dict.fromkeys([*ours, *theirs])
    ]


def _type(first: pa.DataType, second: pa.DataType) -> pa.DataType:
    if pa.types.is_struct(first):
        return pa.struct(_fields(first, second))
    return pa.list_(_type(first.value_type, second.value_type)) if pa.types.is_list(first) else first
