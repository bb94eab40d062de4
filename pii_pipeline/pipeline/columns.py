"""Small helpers for columns that several layers use."""

from __future__ import annotations

import numpy as np
import pyarrow as pa


def column_at(table: pa.Table, path: str) -> pa.Array:
    """The column at a contract path outside lists; null where a parent is null."""
    first, *rest = [part.replace("~1", "/").replace("~0", "~") for part in path.split("/")]
    array = table[first].combine_chunks()
    for name in rest:
        array = array.flatten()[array.type.get_field_index(name)]
    return array


def without(table: pa.Table, rows: np.ndarray) -> pa.Table:
    """`table` without these `rows` (in ascending order), in one piece.

    Few are left out, and to copy what lies between them is far cheaper than to look at every row.
    """
    if len(rows) == 0:
        return table
    starts = np.concatenate([[0], rows + 1])
    lengths = np.append(rows, table.num_rows) - starts
    pieces = [table.slice(start, length) for start, length in zip(starts, lengths, strict=True) if length]
    return pa.concat_tables(pieces or [table.slice(0, 0)]).combine_chunks()
