"""Finding the values of a field, in a typed Arrow column and in a parsed record alike."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pii_pipeline.contracts.record_type import ListOf, Node, Record, join

Steps = tuple[str | None, ...]
"""The way from a record to a field: a key, or None for every element of a list."""


def steps_by_path(record: Record) -> dict[str, tuple[Steps, Node]]:
    """For every path of `record`, the way to it and its type."""

    def walk(node: Node, path: str, steps: Steps) -> Iterator[tuple[str, tuple[Steps, Node]]]:
        if path:
            yield path, (steps, node)
        if isinstance(node, Record):
            for name, child in node.fields:
                yield from walk(child, join(path, name), (*steps, name))
        elif isinstance(node, ListOf):
            yield from walk(node.element, path + "[]", (*steps, None))

    return dict(walk(record, "", ()))


def split(path: str) -> Steps:
    """The way along `path` where no record type declares it: keys only."""
    return tuple(part.replace("~1", "/").replace("~0", "~") for part in path.split("/"))


def column(rows: pa.StructArray, steps: Steps) -> tuple[pa.Array, np.ndarray]:
    """The values at `steps` and, for each, the position in `rows` of the record it belongs to.

    A field of a null record is null; a null list has no elements.
    """
    values: pa.Array = rows
    owners = np.arange(len(rows))
    for step in steps:
        if step is None:
            lengths = pc.fill_null(pc.list_value_length(values), 0).to_numpy(zero_copy_only=False)
            owners = np.repeat(owners, lengths)
            values = values.flatten()
        else:
            values = pc.struct_field(values, [step])
    return values, owners


def values_at(record: Any, steps: Steps) -> Iterator[Any]:
    """The values at `steps` of one parsed record, as `column` would find them: missing is None."""
    for depth, step in enumerate(steps):
        if step is None:
            if isinstance(record, list):
                for element in record:
                    yield from values_at(element, steps[depth + 1 :])
            return
        record = record.get(step) if isinstance(record, dict) else None
    yield record


def value_at(record: Any, steps: Steps) -> Any:
    """The value at `steps`, or None; for steps that go through no list."""
    for step in steps:
        if not isinstance(record, dict):
            return None
        record = record.get(step)
    return record
