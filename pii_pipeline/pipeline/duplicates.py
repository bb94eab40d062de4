"""Redelivered events: the same content seen before, within the stream's window.

Every validated record of a stream with an event id leaves a row in ``event_digests``, in the same order:
digests of the record's bytes and of its event id, and the verdict on it. The hash is XXH3 with a secret seed:
not a cryptographic one, but nobody outside can aim at a collision.

Records that came in messages of a queue leave a second row, behind those of all validated records: the digest
of message id and bytes. A queue may deliver a message twice, and this tells it also in a stream whose events
have no id, and also of a bad record, which without that would be a second bad event. Two messages with the
same bytes are two events.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

NEW, DUPLICATE, ID_REUSED = 0, 1, 2
_SIEVED = 22
"""First bits looked at: one digest in 25 has those of one in a batch of usual size, and 4 MiB of cache do."""
_UNSIEVED = np.uint64(64 - _SIEVED)
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


def unidentified(count: int) -> pa.Table:
    """Rows of `SCHEMA` for `count` records without an event id."""
    digest, none = pa.array(np.zeros(count, np.uint64)), pa.array(np.zeros(count, bool))
    return pa.table([digest, digest, digest, none, pa.array(np.zeros(count, np.int8))], schema=SCHEMA)


def message_digests(records: pa.Array, rows: np.ndarray, message_ids: pa.Array, seed: int) -> pa.Table:
    """Digests of the messages that the `records` at `rows` came in; `message_ids` of all records, not null at
    these."""
    chosen = pa.array(rows)
    texts = zip(message_ids.take(chosen).to_pylist(), records.take(chosen).to_pylist(), strict=True)
    digest = xxhash.xxh3_128_digest
    halves = b"".join([digest(name.encode() + b"\0" + record, seed) for name, record in texts])
    content, rest = np.frombuffer(halves, np.uint64).reshape(-1, 2).T.copy()
    # The same message has the same bytes, so there is no id that is used again with others.
    everywhere, new = pa.array(np.ones(len(rows), bool)), pa.array(np.zeros(len(rows), np.int8))
    return pa.table([pa.array(content), pa.array(rest), pa.array(content), everywhere, new], schema=SCHEMA)


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
    find_content, find_id = _finder(content), _finder(ids)
    for table in earlier:
        names = ("content", "content_rest", "event_id", "has_id")
        before, before_rest, before_ids, had_id = (table[name].to_numpy() for name in names)
        hits = find_content(before)
        hits = hits[had_id[hits]]
        duplicate |= has_id & _seen(content, rest, before[hits], before_rest[hits])
        hits = find_id(before_ids)
        known_id |= _is_in(ids, before_ids[hits[had_id[hits]]])
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
    chosen = np.flatnonzero(among & _is_in(keys[0], several))
    order = chosen[np.lexsort([key[chosen] for key in keys])]  # stable: equal keys stay in row order
    same = np.ones(max(len(order) - 1, 0), bool)
    for key in keys:
        same &= key[order[1:]] == key[order[:-1]]
    repeated = np.zeros(len(among), bool)
    repeated[order[1:][same]] = True
    return repeated


def _finder(digests: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Finds the positions at which others are among `digests`; fast where few are, as in other batches: most
    have first bits that none of `digests` has."""
    ordered = np.sort(digests)
    sieve = np.zeros(1 << _SIEVED, bool)
    sieve[ordered >> _UNSIEVED] = True

    def find(others: np.ndarray) -> np.ndarray:
        alike = np.flatnonzero(sieve[others >> _UNSIEVED])
        if not len(alike):
            return alike
        nearest = ordered.take(np.searchsorted(ordered, others[alike]), mode="clip")
        return alike[nearest == others[alike]]

    return find


def _seen(content: np.ndarray, rest: np.ndarray, before: np.ndarray, before_rest: np.ndarray) -> np.ndarray:
    """Which rows have the content of an earlier one; few need more than the first half."""
    seen = _is_in(content, before)
    if seen.any():
        known = set(zip(before.tolist(), before_rest.tolist(), strict=True))
        pairs = zip(content[seen].tolist(), rest[seen].tolist(), strict=True)
        seen[seen] = [pair in known for pair in pairs]
    return seen


def _is_in(values: np.ndarray, among: np.ndarray) -> np.ndarray:
    """Which `values` are `among` others (bool)."""
    if not len(among):
        return np.zeros(len(values), bool)
    return np.array(pc.is_in(pa.array(values), value_set=pa.array(among)))
