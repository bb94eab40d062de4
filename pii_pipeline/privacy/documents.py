"""Columns of self-describing JSON: taken apart into a column per leaf, treated, and put together again.

A document is ``{"schema": …, "data": …}``. Its data is an entity or a list of entities, each such an object
again, as in Snowplow's unstructured events and contexts; where the contract has paths for the schema of any
other document, that is the entity itself. A text that is no such document is one value that nobody listed.

Domain and associated data of a leaf come from the contract's handle/name, the field, the criterion *as it is
written*, and the path: ``acme/web NUL contexts iglu:com.acme/user/jsonschema/1-*-* address/city``. So a value
has one pseudonym through all versions of a schema that its criterion stands for. Values that nobody listed
have a domain in common, field by field (``contexts $unlisted``), and the names of keys and schemas another
one (``contexts $names``).

Parsed documents take several times the memory of their text, so they are worked on in blocks. Rows of one
owner with equal documents are worked on once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from pii_pipeline.contracts.record_type import Scalar
from pii_pipeline.contracts.treatments import Encrypt, Keep
from pii_pipeline.privacy.apart import Apart
from pii_pipeline.privacy.canonical import TELLING_NUMBER, json_bytes, scalar_text, whole_text
from pii_pipeline.privacy.distinct import distinct
from pii_pipeline.privacy.encodings import flat
from pii_pipeline.privacy.plan import DocumentStep, Leaf
from pii_pipeline.privacy.sealer import Index

BLOCK_BYTES = 1 << 22
"""Documents are parsed in blocks of about that much text."""

LeafKernel = Callable[[pa.Array, Leaf, Index], pa.Array]
"""(values, leaf, row of each value) → treated values, one for one. Into documents text and numbers are put as
they are; a binary array is JSON."""

Texts = Callable[[Leaf, list[Any]], pa.Array]
"""(leaf, its values as they are in parsed documents) → as an Arrow array, one for one."""


def to_treat(leaf: Leaf, values: list[Any]) -> pa.Array:
    """What the kernels work on: canonical JSON to be sealed; numbers to be made coarser; else canonical text,
    under which a value has the same pseudonym as in a column of its own."""
    if isinstance(leaf.treatment, Encrypt):
        texts = [None if value is None else json_bytes(value) for value in values]
        return pa.array(texts, pa.binary()).cast(pa.string())
    if leaf.node == Scalar("integer"):
        return pa.array([value if -(2**63) <= value < 2**63 else None for value in values], pa.int64())
    if leaf.node == Scalar("number"):
        return pa.array(values, pa.float64())
    return pa.array([value if type(value) is str else _text(value) for value in values], pa.string())


def as_treated(leaf: Leaf, values: list[Any]) -> pa.Array:
    """What stands in treated documents, for whoever goes on with them or looks at them. Of kept values only
    text and whole numbers, doubles from 6 digits on: nothing is known by the looks of others."""
    if isinstance(leaf.treatment, Keep):
        return pa.array([_looked_at(value) for value in values], pa.string())
    if leaf.node in (Scalar("integer"), Scalar("number")):
        return pa.array([json_bytes(value).decode() for value in values], pa.string())
    return pa.array([value if type(value) is str else _text(value) for value in values], pa.string())


def to_search(leaf: Leaf, values: list[Any]) -> pa.Array:
    """Originals that might be found elsewhere: text, and whole numbers that are long enough to tell, without
    their sign."""
    sizes = (abs(value) if type(value) in (int, float) else value for value in values)
    return pa.array([_looked_at(value, TELLING_NUMBER) for value in sizes], pa.string())


def _text(value: Any) -> str | None:
    if isinstance(value, dict | list):
        return json_bytes(value).decode()
    return None if value is None else scalar_text(value)


def _looked_at(value: Any, least: int = 0) -> str | None:
    if type(value) is int:
        return whole_text(value, least)
    if type(value) is float:
        return whole_text(value, TELLING_NUMBER)
    if type(value) in (dict, list):
        return json_bytes(value).decode()
    return value if type(value) is str else None


def _always(leaf: Leaf) -> bool:
    return True


def _never(leaf: Leaf) -> bool:
    return False


@dataclass(frozen=True, slots=True)
class Look:
    """What documents are taken apart for.

    `texts` says how values are told, `wanted` which leaves matter. Rows with equal documents are worked on
    once, those of one `owner` (a number for each row) if that is given: the first of them stands for all.
    `every_row`: leaves whose values are told for each of those rows all the same.
    """

    texts: Texts = to_treat
    wanted: Callable[[Leaf], bool] = _always
    owner: Index | None = None
    every_row: Callable[[Leaf], bool] = _never


def transform(array: pa.Array, step: DocumentStep, rows: Index, kernel: LeafKernel, look: Look) -> pa.Array:
    """The documents in `array` as canonical JSON text, with `kernel` applied to the leaves that `look` wants,
    block after block. `kernel` is not asked where a block has no value of a leaf."""
    documents = _Documents.of(array, rows, look.owner)
    pieces = [pa.array([], pa.string())]
    for block in documents.blocks():
        apart = Apart(block.texts, step, look.wanted, filling=True)
        for column in apart.columns:
            at = documents.row[block.start + column.documents()]
            apart.fill(column, kernel(look.texts(column.leaf, column.values), column.leaf, at))
        pieces.append(apart.together())
    return documents.spread(pa.concat_arrays(pieces))


def leaves(
    array: pa.Array, step: DocumentStep, rows: Index, look: Look
) -> Iterator[tuple[Leaf, pa.Array, Index]]:
    """The values of the leaves that `look` wants with the row of each, block after block, as `transform` asks
    for them; a leaf without values is left out."""
    if not any(look.wanted(leaf) for leaf in step.leaves):
        return
    documents = _Documents.of(array, rows, look.owner)
    for block in documents.blocks():
        for column in Apart(block.texts, step, look.wanted, filling=False).columns:
            values, at = look.texts(column.leaf, column.values), block.start + column.documents()
            if look.every_row(column.leaf):
                yield column.leaf, *documents.for_every_row(values, at)
            else:
                yield column.leaf, values, documents.row[at]


@dataclass(frozen=True, slots=True)
class _Block:
    """Documents from number `start` on."""

    start: int
    texts: pa.Array


@dataclass(frozen=True, slots=True)
class _Documents:
    """The distinct documents of a column: `texts[pair[i]]` is that of row `rows[i]`, but where `null[i]`, and
    `row[j]` is the first row that has number j."""

    texts: pa.Array
    row: Index
    rows: Index
    pair: Index
    null: np.ndarray | None

    @classmethod
    def of(cls, array: pa.Array, rows: Index, owner: Index | None) -> _Documents:
        pairs = distinct(array, None if owner is None else owner[rows])
        texts = pairs.dictionary if pairs.owner is None else pairs.dictionary.take(pa.array(pairs.value))
        there = np.arange(len(array)) if pairs.null is None else np.flatnonzero(~pairs.null)
        row = np.zeros(len(texts), np.int64)
        row[pairs.pair[there[::-1]]] = rows[there[::-1]]
        return cls(texts, row, rows, pairs.pair, pairs.null)

    def blocks(self) -> Iterator[_Block]:
        offsets = flat(self.texts)[0]
        start = 0
        while start < len(self.texts):
            stop = int(np.searchsorted(offsets, offsets[start] + BLOCK_BYTES, side="right")) - 1
            stop = max(stop, start + 1)
            yield _Block(start, self.texts.slice(start, stop - start))
            start = stop

    def for_every_row(self, values: pa.Array, numbers: Index) -> tuple[pa.Array, Index]:
        """Values of the documents of these ascending `numbers` for each row that has them; rows ascending."""
        there = np.arange(len(self.pair)) if self.null is None else np.flatnonzero(~self.null)
        by_document = there[np.argsort(self.pair[there], kind="stable")]
        count = np.bincount(self.pair[there], minlength=len(self.texts))
        first = np.cumsum(count) - count
        times = count[numbers]
        position = np.repeat(np.arange(len(numbers)), times)
        nth = np.arange(len(position)) - np.repeat(np.cumsum(times) - times, times)
        row = self.rows[by_document[np.repeat(first[numbers], times) + nth]]
        order = np.argsort(row, kind="stable")
        return values.take(pa.array(position[order])), row[order]

    def spread(self, outputs: pa.Array) -> pa.DictionaryArray:
        indices = pa.array(self.pair.astype(np.int32), mask=self.null)
        return pa.DictionaryArray.from_arrays(indices, outputs)
