"""Who is admitted to a derived dataset, and which levels are readable there.

Cumulative, requested level L: admitted when max(consent) ≥ L; fields of level ≤ L are decrypted.
Granular, requested purposes R: admitted when R ⊆ consent; fields whose level ∈ R are decrypted.
No consent never admits; consent beyond what was requested never widens (STRM Privacy's semantics).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pii_pipeline.contracts.model import Consent
from pii_pipeline.privacy.sealer import Index

_LIST = re.compile(r"\s*\[?\s*(\d{1,9}(?:\s*,\s*\d{1,9})*)?\s*\]?\s*")
LEVELS = pa.list_(pa.int32())


@dataclass(frozen=True, slots=True)
class ConsentRequest:
    """What a derived dataset asks for: one `level` (cumulative) or a set of `purposes` (granular)."""

    level: int | None = None
    purposes: frozenset[int] = frozenset()

    def __post_init__(self) -> None:
        if (self.level is None) == (not self.purposes):
            raise ValueError("a derived dataset asks for one level, or for at least one purpose")

    def readable(self, level: int) -> bool:
        """Whether fields encrypted at `level` are decrypted."""
        return level <= self.level if self.level is not None else level in self.purposes

    def admits(self, consent: pa.Array) -> np.ndarray:
        """Which rows are admitted; `consent` is a column of `LEVELS`, null or empty = none."""
        rows = pc.list_parent_indices(consent).to_numpy()
        levels = consent.flatten().to_numpy(zero_copy_only=False)
        if self.level is not None:
            admitted = np.zeros(len(consent), bool)
            admitted[rows[levels >= self.level]] = True
            return admitted
        admitted = np.ones(len(consent), bool)
        for purpose in self.purposes:
            given = np.zeros(len(consent), bool)
            given[rows[levels == purpose]] = True
            admitted &= given
        return admitted


def consent_column(consent: Consent, values: pa.Array | None, rows: int) -> pa.Array:
    """What the events of `rows` rows consent to, as a column of `LEVELS`; null is no consent.

    `values` is the column of the contract's consent field, if it has one. Where it is null the contract's
    default holds; a value that says something else than a consent is none.
    """
    default = pa.array([consent.default], LEVELS)
    if values is None:
        return default.take(pa.array(np.zeros(rows, np.int32)))
    levels = consent_levels(values) if consent.values is None else _by_value(values, consent.values)
    if consent.default is None or not values.null_count:
        return levels
    chosen = np.where(values.is_null().to_numpy(zero_copy_only=False), rows, np.arange(rows))
    return pa.concat_arrays([levels, default]).take(pa.array(chosen))


def latest_said(consent: pa.Array, subject: Index, at: Index) -> Index:
    """The row in which each subject said last what it consents to, by ascending subject.

    `consent` is a column of `LEVELS`; row i is about `subject[i]`, at the moment `at[i]`. Of rows of one
    moment it is one with the fewest levels, and of these with the lowest: whatever the order of the rows.
    """
    order = np.lexsort((at, subject))
    ends = np.append(np.flatnonzero(np.diff(subject[order])), len(order) - 1) if len(order) else order
    latest = order[ends]
    moment = np.zeros(int(subject.max(initial=-1)) + 1, at.dtype)
    moment[subject[latest]] = at[latest]
    tied = np.flatnonzero(at == moment[subject])
    if len(tied) == len(latest):
        return latest
    levels = [tuple(sorted(set(said or ()))) for said in consent.take(pa.array(tied)).to_pylist()]
    ranks = {said: rank for rank, said in enumerate(sorted(set(levels), key=lambda said: (len(said), said)))}
    order = np.lexsort((np.array([ranks[said] for said in levels]), subject[tied]))
    firsts = np.flatnonzero(np.diff(subject[tied][order], prepend=-1))
    return tied[order[firsts]]


def _by_value(values: pa.Array, meaning: Mapping[str, Sequence[int]]) -> pa.Array:
    """The levels that each value means: texts as they are, numbers in digits, booleans true or false."""
    texts = values if pa.types.is_dictionary(values.type) else values.cast(pa.string())
    encoded = pc.dictionary_encode(texts)
    lists = pa.array([meaning.get(text) for text in encoded.dictionary.to_pylist()], LEVELS)
    return lists.take(encoded.indices)


def consent_levels(values: pa.Array) -> pa.Array:
    """A consent field as lists of levels: a list of integers, an integer, or text such as ``[1,2]`` or ``1``.

    What is missing, malformed, negative or beyond 32 bits is no consent (null).
    """
    kind = values.type
    if pa.types.is_list(kind):
        elements = values.flatten()
        if elements.null_count == 0 and _in_range(elements):
            return values.cast(LEVELS)
        return pa.array([_clean(levels) for levels in values.to_pylist()], LEVELS)
    if pa.types.is_integer(kind):
        return pa.array([None if v is None else _clean([v]) for v in values.to_pylist()], LEVELS)
    encoded = pc.dictionary_encode(values)
    lists = pa.array([_parse(text) for text in encoded.dictionary.to_pylist()], LEVELS)
    return lists.take(encoded.indices)


def _in_range(elements: pa.Array) -> bool:
    if len(elements) == 0:
        return True
    span = pc.min_max(elements).as_py()
    return span["min"] >= 0 and span["max"] < 2**31


def _clean(levels: list[int | None] | None) -> list[int] | None:
    if levels is None or any(level is None or not 0 <= level < 2**31 for level in levels):
        return None
    return [level for level in levels if level is not None]


def _parse(text: str) -> list[int] | None:
    match = _LIST.fullmatch(text)
    if match is None or text.count("[") != text.count("]"):
        return None
    return [int(level) for level in match[1].split(",")] if match[1] else []
