"""Distinct values before crypto: each pair (owner, value) is worked on once, then spread over the rows.

The result is a dictionary column, so that what follows (leak gate, Parquet) sees distinct values too.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pii_pipeline.privacy.sealer import Index


@dataclass(frozen=True, slots=True)
class Distinct:
    """The distinct (owner, value) pairs of a column.

    `dictionary` holds the distinct values; pair j is (`owner[j]`, `dictionary[value[j]]`); row i holds pair
    `pair[i]`, or null where `null[i]`. Without owners the pairs are the values.
    """

    dictionary: pa.Array
    value: Index
    owner: Index | None
    pair: Index
    null: np.ndarray | None

    def owned_by(self, owner: Index) -> Distinct:
        """The same values told apart by the owner of each row too; pairs come sorted by owner, then value."""
        size = len(self.dictionary)
        if size == 0:
            return self
        combined = owner * size + self.pair
        if self.null is None:
            pairs, pair = numbered(combined)
        else:  # null rows carry no value: they must not bring a pair of their own into the crypto
            pair = np.zeros(len(self.pair), np.int64)
            pairs, pair[~self.null] = numbered(combined[~self.null])
        return Distinct(self.dictionary, pairs % size, pairs // size, pair, self.null)

    def of(self, texts: list[bytes]) -> list[bytes]:
        """One text per pair, out of one per distinct value."""
        if self.owner is None:
            return texts
        return [texts[i] for i in self.value.tolist()]

    def spread(self, outputs: pa.Array) -> pa.DictionaryArray:
        """One output per pair → one per row."""
        indices = pa.array(self.pair.astype(np.int32), mask=self.null)
        return pa.DictionaryArray.from_arrays(indices, outputs)


def numbered(values: np.ndarray) -> tuple[Index, Index]:
    """The distinct ones of these integers in ascending order, and the number of each value among them.

    `numpy.unique` sorts all values; to hash them and sort the distinct ones takes a third of the time.
    """
    encoded = pc.dictionary_encode(pa.array(values))
    found = encoded.dictionary.to_numpy()
    order = np.argsort(found)
    number = np.empty(len(found), np.int64)
    number[order] = np.arange(len(found))
    return found[order], number[encoded.indices.to_numpy()]


def distinct(values: pa.Array, owner: Index | None = None) -> Distinct:
    """The distinct pairs of `values` with the owner of each (any non-negative integers)."""
    encoded = _in_use(values) if isinstance(values, pa.DictionaryArray) else pc.dictionary_encode(values)
    null = encoded.indices.is_null().to_numpy(zero_copy_only=False) if encoded.null_count else None
    codes = encoded.indices.fill_null(0).to_numpy().astype(np.int64)
    found = Distinct(encoded.dictionary, np.arange(len(encoded.dictionary)), None, codes, null)
    return found if owner is None else found.owned_by(owner)


def _in_use(array: pa.DictionaryArray) -> pa.DictionaryArray:
    """The array with the values of its dictionary that a row has: the others cost crypto for nobody."""
    used = np.zeros(len(array.dictionary), bool)
    used[array.indices.drop_null().to_numpy()] = True
    if used.all():
        return array
    position = pa.array((np.cumsum(used) - 1).astype(np.int32))
    return pa.DictionaryArray.from_arrays(
        position.take(array.indices), array.dictionary.filter(pa.array(used))
    )
