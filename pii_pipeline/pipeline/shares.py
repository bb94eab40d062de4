"""Chunks shared out among the versions of a contract that are active side by side.

Each share is treated as if its version were the only one, and written under the columns of all of them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pii_pipeline.contracts.model import Contract
from pii_pipeline.privacy.plan import CONTRACT
from pii_pipeline.streams.model import Stream


class Share(NamedTuple):
    """The rows of a chunk that one version governs."""

    contract: Contract
    table: pa.Table


def by_contract(table: pa.Table, stream: Stream) -> Iterator[tuple[Contract | None, pa.Table]]:
    """The rows of `table` by the active version that they name in `CONTRACT`, the newest first; None: those
    that name another. In each, rows stay in order."""
    versions: list[Contract | None] = [*stream.active, None]
    if not table.num_rows:
        yield stream.contract, table
        return
    names = pc.dictionary_encode(table[CONTRACT]).combine_chunks()
    known = pa.array([contract.contract for contract in stream.active])
    of_name = pc.index_in(names.dictionary, known).fill_null(len(known)).to_numpy()
    version = of_name[names.indices.to_numpy()]
    for number in sorted(set(of_name.tolist())):
        mine = version == number
        if mine.any():
            yield versions[number], table if mine.all() else table.filter(pa.array(mine))


def as_share(contract: Contract, table: pa.Table, encoded: Collection[str]) -> Share:
    """`table` as rows that `contract` governs. Of its columns only those of `encoded` stay
    dictionary-encoded: where versions treat a column differently, each gets it as if it were alone."""
    for at, field in enumerate(table.schema):
        if pa.types.is_dictionary(field.type) and field.name not in encoded:
            table = table.set_column(at, field.name, table.column(at).cast(field.type.value_type))
    return Share(contract, named(table, contract))


def named(table: pa.Table, contract: Contract) -> pa.Table:
    """`table` with this contract in the column that names it."""
    one = pa.DictionaryArray.from_arrays(
        pa.array(np.zeros(table.num_rows, np.int32)), pa.array([contract.contract])
    )
    at = table.schema.get_field_index(CONTRACT)
    return table.append_column(CONTRACT, one) if at < 0 else table.set_column(at, CONTRACT, one)
