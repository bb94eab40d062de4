"""Columns inside records and lists: take them apart, treat the leaves, put them together again."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pii_pipeline.privacy.plan import Leaf, ListStep, RecordStep, Step
from pii_pipeline.privacy.sealer import Index

LeafKernel = Callable[[pa.Array, Leaf, Index], pa.Array]
"""(values, leaf, row of each value) → treated values, one for one."""


def transform(array: pa.Array, step: Step, rows: Index, kernel: LeafKernel) -> pa.Array:
    """`array` with `kernel` applied to every leaf below `step`.

    `rows[i]` is the row of the event that element i belongs to: inside a list several elements share one.
    Nulls of records and lists stay nulls.
    """
    if isinstance(step, Leaf):
        return kernel(array, step, rows)
    if isinstance(step, ListStep):
        values = transform(
            array.flatten(), step.element, rows[pc.list_parent_indices(array).to_numpy()], kernel
        )
        lengths = pc.list_value_length(array).fill_null(0).to_numpy()
        offsets = np.zeros(len(array) + 1, np.int32)
        np.cumsum(lengths, out=offsets[1:])
        mask = array.is_null() if array.null_count else None
        return pa.ListArray.from_arrays(pa.array(offsets), values, mask=mask)
    assert isinstance(step, RecordStep)
    parts = dict(zip((field.name for field in array.type), array.flatten(), strict=True))
    treated = [(name, transform(parts[name], child, rows, kernel)) for name, child in step.fields]
    return pa.StructArray.from_arrays(
        [values for _, values in treated],
        fields=[pa.field(name, values.type) for name, values in treated],
        mask=array.is_null() if array.null_count else None,
    )


def leaves(array: pa.Array, step: Step, rows: Index) -> list[tuple[Leaf, pa.Array, Index]]:
    """Every leaf column below `step` with the row of each of its values: `rows` itself outside lists."""
    if isinstance(step, Leaf):
        return [(step, array, rows)]
    if isinstance(step, ListStep):
        return leaves(array.flatten(), step.element, rows[pc.list_parent_indices(array).to_numpy()])
    parts = dict(zip((field.name for field in array.type), array.flatten(), strict=True))
    return [found for name, child in step.fields for found in leaves(parts[name], child, rows)]


def plain(array: pa.Array) -> pa.Array:
    """One contiguous, undecoded array out of a chunked column. Copied only if it is in several pieces."""
    if not isinstance(array, pa.ChunkedArray):
        return array
    return array.chunk(0) if array.num_chunks == 1 else array.combine_chunks()
