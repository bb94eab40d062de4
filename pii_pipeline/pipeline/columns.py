"""Small helpers for columns that several layers use."""

from __future__ import annotations

import pyarrow as pa


def column_at(table: pa.Table, path: str) -> pa.Array:
    """The column at a contract path outside lists; null where a parent is null."""
    first, *rest = [part.replace("~1", "/").replace("~0", "~") for part in path.split("/")]
    array = table[first].combine_chunks()
    for name in rest:
        array = array.flatten()[array.type.get_field_index(name)]
    return array
