"""What of a batch was delivered before: of its validated events, and of bad ones that came in messages."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from pii_pipeline.lake import data_file, read_parquet, write_parquet
from pii_pipeline.ledger import VALIDATED_EVENTS, Batch, Commit, Counts, Earlier, hour_of, hour_start
from pii_pipeline.pipeline import bad_events, duplicates
from pii_pipeline.pipeline.bad_events import BAD_EVENTS
from pii_pipeline.pipeline.installation import EVENT_DIGESTS, Installation
from pii_pipeline.pipeline.made import Made, MadeFile
from pii_pipeline.streams.model import Stream


@dataclass(frozen=True, slots=True)
class ChunkDigests:
    """By what the records of a chunk are told from others; `rows` of them are valid.

    `digests`: of the valid ones, in a stream with an event id. `messages`: of those records that came in
    messages, and `delivered` which these are: positions among the valid ones, or behind them among the bad.
    """

    rows: int
    digests: pa.Table | None
    messages: pa.Table | None
    delivered: np.ndarray


class BatchDigests:
    """Gathers by what the records of a batch are told from others."""

    def __init__(self) -> None:
        self._digests: list[pa.Table] = []
        self._messages: list[tuple[pa.Table, pa.Table]] = []
        self._delivered: list[tuple[np.ndarray, np.ndarray]] = []

    def add(self, chunk: ChunkDigests, valid: int, bad: int) -> None:
        """The next chunk; `valid` and `bad` records came before it."""
        if chunk.digests is not None:
            self._digests.append(chunk.digests)
        if chunk.messages is not None:
            among_valid = chunk.delivered < chunk.rows
            first_bad = int(among_valid.sum())
            self._messages.append((chunk.messages.slice(0, first_bad), chunk.messages.slice(first_bad)))
            of_bad = chunk.delivered[~among_valid] - chunk.rows + bad
            self._delivered.append((chunk.delivered[among_valid] + valid, of_bad))

    def of_batch(self, valid: int, identified: bool) -> tuple[pa.Table | None, np.ndarray]:
        """`digests` and `delivered` of a batch with so many `valid` records. Messages of valid records come
        first: of two deliveries of one, the valid record is the one that stays."""
        if not identified and not self._messages:
            return None, np.empty(0, np.int64)
        own = self._digests if identified else [duplicates.unidentified(valid)]
        messages = [part for side in (0, 1) for part in (item[side] for item in self._messages)]
        delivered = [item[0] for item in self._delivered] + [item[1] + valid for item in self._delivered]
        digests = pa.concat_tables([duplicates.SCHEMA.empty_table(), *own, *messages])
        return digests, np.concatenate([np.empty(0, np.int64), *delivered])


@dataclass(frozen=True, slots=True)
class Validated:
    """A batch after validation, redelivered events not told yet.

    `digests` has a row per validated record and then one per message, None if there is neither an event id
    nor a message. The messages are those of the records at `delivered`: positions among the validated ones,
    or behind them among the bad ones.
    """

    valid: MadeFile
    bad: MadeFile
    counts: Counts
    digests: pa.Table | None
    delivered: np.ndarray


def tell_duplicates(
    installation: Installation, stream: Stream, batch: Batch, name: str, done: Validated
) -> Made:
    """Compares the batch with those that came before it, and writes down the verdicts."""
    if done.digests is None:
        return Made((done.valid, done.bad), {**done.counts, "duplicate": 0})
    valid = done.valid.file.rows
    hour = hour_start(batch.hour)
    key = installation.keys.restricted_key(stream.name, hour.date())
    since = hour_of(hour - stream.dedupe_window)
    earlier, verdict = _compared(installation, stream, batch, since, done.digests)
    again = done.delivered[verdict[valid:] == duplicates.DUPLICATE]
    verdict[again[again < valid]] = duplicates.DUPLICATE
    bad_path = data_file(stream.name, BAD_EVENTS, hour, batch.id, name)
    bad, bad_counts = _without(installation, done, again[again >= valid] - valid, bad_path)
    table = done.digests.set_column(4, duplicates.SCHEMA.field("verdict"), pa.array(verdict))
    path = data_file(stream.name, EVENT_DIGESTS, hour, batch.id, name)
    # Nothing makes digests smaller.
    with write_parquet(
        installation.zones.restricted, path, duplicates.SCHEMA, key=key, compression="none"
    ) as out:
        out.write(table)
    repeated = int((verdict[:valid] == duplicates.DUPLICATE).sum())
    counts = {
        **done.counts,
        **bad_counts,
        "validated": valid - repeated,
        "duplicate": repeated + done.bad.file.rows - bad.file.rows,
        "event_id_reused": int((verdict[:valid] == duplicates.ID_REUSED).sum()),
    }
    return Made((done.valid, bad, MadeFile.of(EVENT_DIGESTS, path, out)), counts, earlier.head)


def _compared(
    installation: Installation, stream: Stream, batch: Batch, since: str, digests: pa.Table
) -> tuple[Earlier, np.ndarray]:
    """With what the batch was compared, and the verdicts. An earlier batch that is made again meanwhile has
    its verdicts in another file then."""
    while True:
        earlier = installation.ledger.earlier_commits(stream.name, VALIDATED_EVENTS, batch, since)
        try:
            found = duplicates.verdicts(digests, _earlier_digests(installation, stream, earlier.commits))
        except FileNotFoundError:
            now = installation.ledger.earlier_commits(stream.name, VALIDATED_EVENTS, batch, since)
            if now.commits == earlier.commits:
                raise
        else:
            return earlier, found


def _without(
    installation: Installation, done: Validated, again: np.ndarray, path: str
) -> tuple[MadeFile, dict[str, int | dict[str, int]]]:
    """The bad events without those at `again`, which were set aside when they first came, for `path`; and
    what is counted of them.

    Where any came in a message, the file is always written anew: so the first one is never given its name,
    stays for another comparison, and is a leftover to the hour's next sweep.
    """
    bad, lake = done.bad, installation.zones.lake
    if not (done.delivered >= done.valid.file.rows).any():
        return bad, {}
    kept = np.ones(bad.file.rows, bool)
    kept[again] = False
    reasons: Counter[str] = Counter()
    at = 0
    try:
        with write_parquet(lake, path, bad_events.SCHEMA) as out:
            for part in read_parquet(lake, bad.hidden):
                rows = part.filter(pa.array(kept[at : at + part.num_rows]))
                at += part.num_rows
                reasons.update(rows["failure_type"].to_pylist())
                out.write(pa.Table.from_batches([rows], bad_events.SCHEMA))
    except FileNotFoundError:
        return bad, {}  # swept away: giving it its name fails, and the batch is made again
    return (
        MadeFile.of(BAD_EVENTS, path, out),
        {"bad": out.rows, "bad_by_reason": dict(sorted(reasons.items()))},
    )


def _earlier_digests(
    installation: Installation, stream: Stream, commits: tuple[Commit, ...]
) -> Iterator[pa.Table]:
    for commit in commits:
        key = installation.keys.restricted_key(stream.name, hour_start(commit.hour).date())
        if path := commit.path_of(EVENT_DIGESTS):
            batches = read_parquet(installation.zones.restricted, path, key=key)
            yield pa.Table.from_batches(list(batches), duplicates.SCHEMA)
