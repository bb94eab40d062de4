"""Redelivered events: the same content seen before, within the stream's window.

Every validated record of a stream with an event id leaves a row in ``event_digests``, in the same order:
digests of the record's bytes and of its event id, and the verdict on it. The hash is XXH3 with a secret seed:
not a cryptographic one, but nobody outside can aim at a collision.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

NEW, DUPLICATE, ID_REUSED = 0, 1, 2
SCHEMA = pa.schema(
    [
        pa.field("content", pa.uint64(), nullable=False),
        pa.field("content_rest", pa.uint64(), nullable=False),
        pa.field("event_id", pa.uint64(), nullable=False),
        pa.field("has_id", pa.bool_(), nullable=False),
        pa.field("verdict", pa.int8(), nullable=False),
    ]
)


def digests(records: pa.Array, rows: np.ndarray, event_ids: pa.Array, seed: int) -> pa.Table:
    """Digests of the raw `records` (binary) at `rows`, whose event ids (any scalar type) are `event_ids`.

    Verdicts are still `NEW`.
    """
    large = pa.types.is_large_binary(records.type)
    offsets = np.frombuffer(records.buffers()[1], np.int64 if large else np.int32)[records.offset :]
    data = memoryview(records.buffers()[2] or b"")
    digest = xxhash.xxh3_128_digest
    # Slices of the buffer: a record is hashed where it lies.
    bounds = zip(offsets[rows].tolist(), offsets[rows + 1].tolist(), strict=True)
    content = b"".join([digest(data[start:end], seed) for start, end in bounds])
    halves = np.frombuffer(content, np.uint64).reshape(-1, 2)
    texts = event_ids.cast(pa.string()).fill_null("").cast(pa.binary())
    ids = [xxhash.xxh3_64_intdigest(text, seed) for text in texts.to_pylist()]
    return pa.table(
        [
            pa.array(halves[:, 0].copy()),
            pa.array(halves[:, 1].copy()),
            pa.array(ids, pa.uint64()),
            event_ids.is_valid(),
            pa.array(np.zeros(len(ids), np.int8)),
        ],
        schema=SCHEMA,
    )


def verdicts(batch: pa.Table, earlier: Iterable[pa.Table]) -> np.ndarray:
    """The verdict on every row of `batch` (rows of `SCHEMA`), as int8.

    `DUPLICATE` where an earlier row, of the batch or of one of the `earlier` tables, has the same content;
    `ID_REUSED` where one has the same event id and other content. Rows without an event id are `NEW`.
    """
    content = batch["content"].to_numpy()
    rest = batch["content_rest"].to_numpy()
    ids = batch["event_id"].to_numpy()
    has_id = batch["has_id"].to_numpy()
    duplicate = _repeats(has_id, content, rest)
    known_id = np.zeros(len(ids), bool)
    for table in earlier:
        before = table.filter(table["has_id"])
        duplicate |= has_id & _seen(content, rest, before)
        known_id |= np.asarray(pc.is_in(batch["event_id"], value_set=before["event_id"].combine_chunks()))
    alone = has_id & ~duplicate
    reused = alone & (known_id | _repeats(alone, ids))
    return np.where(duplicate, DUPLICATE, np.where(reused, ID_REUSED, NEW)).astype(np.int8)


def _repeats(among: np.ndarray, *keys: np.ndarray) -> np.ndarray:
    """Which of the rows chosen by `among` have a key that an earlier chosen row has.

    Few do, and to sort plain numbers is far cheaper than to sort rows: only those whose first key is there
    more than once are sorted by all.
    """
    ordered = np.sort(keys[0][among])
    several = ordered[1:][ordered[1:] == ordered[:-1]]
    chosen = np.flatnonzero(among & np.asarray(pc.is_in(pa.array(keys[0]), value_set=pa.array(several))))
    order = chosen[np.lexsort([key[chosen] for key in keys])]  # stable: equal keys stay in row order
    same = np.ones(max(len(order) - 1, 0), bool)
    for key in keys:
        same &= key[order[1:]] == key[order[:-1]]
    repeated = np.zeros(len(among), bool)
    repeated[order[1:][same]] = True
    return repeated


def _seen(content: np.ndarray, rest: np.ndarray, before: pa.Table) -> np.ndarray:
    """Which rows have the content of a row of `before`; few need more than the first half."""
    candidates = np.flatnonzero(
        np.asarray(pc.is_in(pa.array(content), value_set=before["content"].combine_chunks()))
    )
    seen = np.zeros(len(content), bool)
    if len(candidates):
        hits = before.filter(pc.is_in(before["content"], value_set=pa.array(content[candidates])))
        known = set(zip(hits["content"].to_pylist(), hits["content_rest"].to_pylist(), strict=True))
        pairs = zip(content[candidates].tolist(), rest[candidates].tolist(), strict=True)
        seen[candidates] = [pair in known for pair in pairs]
    return seen
