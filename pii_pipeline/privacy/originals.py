"""Originals of reversible fields, gathered while they are pseudonymized: what each pseudonym stands for.

They come out of the kernels distinct, so that nothing is looked at twice; who asks for none pays nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from pii_pipeline.privacy.distinct import Distinct
from pii_pipeline.privacy.sealer import Index

_PARTS = ["subject", "pseudonym", "text"]


@dataclass(frozen=True, slots=True)
class FieldOriginals:
    """The distinct originals of the field at `path` in a chunk.

    `texts[i]` (canonical, UTF-8) of the person `subject[i]` has the pseudonym `pseudonyms[i]` (bytes), and is
    in events of the days `first[i]` to `last[i]` (since 1970).
    """

    path: str
    subject: Index
    pseudonyms: list[bytes] = field(repr=False)
    texts: list[bytes] = field(repr=False)
    first: Index
    last: Index


class Originals:
    """Takes what is found in a chunk whose rows are about `subject` (a number each) on `day` (since 1970)."""

    def __init__(self, subject: Index, day: Index) -> None:
        self._subject = subject
        self._day = day
        self._found: dict[str, list[FieldOriginals]] = {}

    def add(
        self, path: str, pairs: Distinct, texts: Sequence[bytes], pseudonyms: Sequence[bytes], rows: Index
    ) -> None:
        """The values of a field: a text and a pseudonym for each of `pairs`; `rows` has the row of each."""
        told = pairs.owned_by(self._subject[rows]) if pairs.owner is None else pairs
        if told.owner is None:  # there is no value
            return
        if told is not pairs:
            texts = [texts[i] for i in told.value.tolist()]
            pseudonyms = [pseudonyms[i] for i in told.value.tolist()]
        there = slice(None) if told.null is None else ~told.null
        first, last = _spans(told.pair[there], self._day[rows][there], len(texts))
        found = FieldOriginals(path, told.owner, list(pseudonyms), list(texts), first, last)
        self._found.setdefault(path, []).append(found)

    def fields(self) -> Iterator[FieldOriginals]:
        """What was found, field by field; each original of a person once."""
        for pieces in self._found.values():
            yield pieces[0] if len(pieces) == 1 else _merged(pieces)


def _spans(pair: Index, day: Index, pairs: int) -> tuple[Index, Index]:
    """The first and the last day of each pair."""
    first = np.full(pairs, np.iinfo(np.int64).max)
    last = np.full(pairs, np.iinfo(np.int64).min)
    np.minimum.at(first, pair, day)
    np.maximum.at(last, pair, day)
    return first, last


def _merged(pieces: Sequence[FieldOriginals]) -> FieldOriginals:
    """Of a field that came in pieces, as those inside documents do."""
    table = pa.table(
        {
            "subject": np.concatenate([piece.subject for piece in pieces]),
            "pseudonym": pa.array([item for piece in pieces for item in piece.pseudonyms], pa.binary()),
            "text": pa.array([item for piece in pieces for item in piece.texts], pa.binary()),
            "first": np.concatenate([piece.first for piece in pieces]),
            "last": np.concatenate([piece.last for piece in pieces]),
        }
    )
    once = table.group_by(_PARTS, use_threads=False).aggregate([("first", "min"), ("last", "max")])
    return FieldOriginals(
        pieces[0].path,
        once["subject"].to_numpy(),
        once["pseudonym"].to_pylist(),
        once["text"].to_pylist(),
        once["first_min"].to_numpy(),
        once["last_max"].to_numpy(),
    )
