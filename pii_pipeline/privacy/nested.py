"""Columns inside records, lists and documents: take them apart, treat the leaves, put them together again."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pii_pipeline.privacy import documents
from pii_pipeline.privacy.documents import LeafKernel, Look
from pii_pipeline.privacy.plan import DocumentStep, Leaf, ListStep, RecordStep, Step
from pii_pipeline.privacy.sealer import Index


def transform(array: pa.Array, step: Step, rows: Index, kernel: LeafKernel, look: Look) -> pa.Array:
    """`array` with `kernel` applied to every leaf below `step`; inside documents, to those that `look` wants.

    `rows[i]` is the row of the event that element i belongs to: inside a list several elements share one.
    Nulls of records and lists stay nulls.
    """
    if isinstance(step, Leaf):
        return kernel(array, step, rows)
    if isinstance(step, DocumentStep):
        return documents.transform(array, step, rows, kernel, look)
    if isinstance(step, ListStep):
        at = rows[pc.list_parent_indices(array).to_numpy()]
        values = transform(array.flatten(), step.element, at, kernel, look)
        lengths = pc.list_value_length(array).fill_null(0).to_numpy()
        offsets = np.zeros(len(array) + 1, np.int32)
        np.cumsum(lengths, out=offsets[1:])
        mask = array.is_null() if array.null_count else None
        return pa.ListArray.from_arrays(pa.array(offsets), values, mask=mask)
    assert isinstance(step, RecordStep)
    parts = dict(zip((field.name for field in array.type), array.flatten(), strict=True))
    treated = [(name, transform(parts[name], child, rows, kernel, look)) for name, child in step.fields]
    return pa.StructArray.from_arrays(
        [values for _, values in treated],
        fields=[pa.field(name, values.type) for name, values in treated],
        mask=array.is_null() if array.null_count else None,
    )


def leaves(array: pa.Array, step: Step, rows: Index, look: Look) -> Iterator[tuple[Leaf, pa.Array, Index]]:
    """Every leaf column below `step` that `look` wants, with the row of each of its values: `rows` itself
    outside lists and documents. One inside documents comes in pieces."""
    if isinstance(step, Leaf):
        if look.wanted(step):
            yield step, array, rows
    elif isinstance(step, DocumentStep):
        yield from documents.leaves(array, step, rows, look)
    elif isinstance(step, ListStep):
        at = rows[pc.list_parent_indices(array).to_numpy()]
        yield from leaves(array.flatten(), step.element, at, look)
    else:
        parts = dict(zip((field.name for field in array.type), array.flatten(), strict=True))
        for name, child in step.fields:
            yield from leaves(parts[name], child, rows, look)


def plain(array: pa.Array) -> pa.Array:
    """One contiguous, undecoded array out of a chunked column. Copied only if it is in several pieces."""
    if not isinstance(array, pa.ChunkedArray):
        return array
    return array.chunk(0) if array.num_chunks == 1 else array.combine_chunks()
