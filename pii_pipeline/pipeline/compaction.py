"""Small files of a dataset's hour become few large ones, while readers read on.

An hour that arrives bit by bit is as many batches, each with a file of its own; whoever reads it opens them
all. Only hours that are over are looked at; what still comes to one is put together the next time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pyarrow as pa

from pii_pipeline.hours import hour_of
from pii_pipeline.lake import StorageError, UnreadableFile, Zone, parquet_schema
from pii_pipeline.ledger import Lease, LeaseHeld, LeaseLost, StaleFiles
from pii_pipeline.pipeline.installation import Installation, zone_of
from pii_pipeline.pipeline.parallel import ordered_map
from pii_pipeline.pipeline.places import hour_lease
from pii_pipeline.pipeline.seal import sweep
from pii_pipeline.pipeline.shared_files import HeldFile, held_files, put_together
from pii_pipeline.streams.model import Stream

SMALL_BYTES = 64 << 20
"""A file below this is put together with others, as stored."""
MOST_BYTES = 256 << 20
"""What is put together has no more bytes before."""
GRACE = timedelta(hours=1)
"""How long files that were put together stay, for readers who had asked for their names before."""

_REQUESTS = 8


@dataclass(frozen=True)
class CompactedHour:
    """What was done for a stream and hour.

    `before` small files became `after`, of so many bytes as stored; `deleted` files went that nobody held.
    `busy`: a run is at work there, the hour was left to the next time. `problem`: why it could not be done.
    """

    stream: str
    hour: str
    before: int = 0
    after: int = 0
    bytes_before: int = 0
    bytes_after: int = 0
    deleted: int = 0
    busy: bool = False
    problem: str | None = None


Due = tuple[Stream, str]
"""A stream and an hour."""


def hours_to_compact(
    installation: Installation, streams: Sequence[Stream], now: datetime | None = None
) -> list[Due]:
    """Where there is something to be put together, or deleted: of hours that were over at `now`."""
    closed = hour_of((now or datetime.now(UTC)) - timedelta(hours=1))
    found = []
    for stream in streams:
        fragments = installation.ledger.fragments(stream.name, closed, SMALL_BYTES)
        hours = {hour for hour, dataset in fragments if _may_be_compacted(dataset)}
        hours |= {*installation.ledger.hours_with_unheld(stream.name)}
        found += [(stream, hour) for hour in sorted(hours)]
    return found


def compact_hours(
    installation: Installation, due: Sequence[Due], begun: Callable[[str, str], object] = lambda *_: None
) -> Iterator[CompactedHour]:
    """Compacts these, one after the other; `begun` is told the stream and hour that is next.

    One that fails does not keep the others from being compacted. Any number of processes may do this at once,
    and while runs are at work.
    """
    for stream, hour in due:
        begun(stream.name, hour)
        try:
            with hour_lease(installation, stream.name, hour) as lease:
                yield _compact(installation, lease, stream, hour)
        except (LeaseHeld, LeaseLost, StaleFiles):
            yield CompactedHour(stream.name, hour, busy=True)
        except (UnreadableFile, StorageError) as error:
            yield CompactedHour(stream.name, hour, problem=str(error))


def _compact(installation: Installation, lease: Lease, stream: Stream, hour: str) -> CompactedHour:
    deleted = sweep(installation, stream, hour, lease)
    files = held_files(installation.ledger.parts(stream.name, hour))
    before = after = bytes_before = bytes_after = 0
    for dataset in dict.fromkeys(file.dataset for file in files if _may_be_compacted(file.dataset)):
        zone = installation.zone_holding(dataset)
        small = [file for file in files if file.dataset == dataset and file.bytes < SMALL_BYTES]
        for schema, group in _groups(zone, small):
            made = put_together(installation, lease, stream.name, hour, group, schema, GRACE)
            before += len(group)
            after += 1
            bytes_before += sum(file.bytes for file in group)
            bytes_after += made.bytes
    return CompactedHour(stream.name, hour, before, after, bytes_before, bytes_after, deleted)


def _groups(zone: Zone, small: Sequence[HeldFile]) -> Iterator[tuple[pa.Schema, list[HeldFile]]]:
    """The files that become one, in order, and their columns, in which they are alike: those that came under
    another contract may have others."""
    if len(small) < 2:
        return

    def columns(file: HeldFile) -> pa.Schema:
        try:
            return parquet_schema(zone, file.path)
        except FileNotFoundError:
            raise UnreadableFile(f"{zone.path(file.path)}: is committed, and not there") from None

    alike: dict[pa.Schema, list[HeldFile]] = {}
    for file, schema in zip(small, ordered_map(columns, small, _REQUESTS), strict=True):
        alike.setdefault(schema, []).append(file)
    for schema, files in alike.items():
        yield from ((schema, group) for group in _cut(files) if len(group) > 1)


def _cut(files: Sequence[HeldFile]) -> Iterator[list[HeldFile]]:
    """Neighbours together, as many as `MOST_BYTES` allow."""
    group: list[HeldFile] = []
    for file in files:
        if group and sum(item.bytes for item in group) + file.bytes > MOST_BYTES:
            yield group
            group = []
        group.append(file)
    if group:
        yield group


def _may_be_compacted(dataset: str) -> bool:
    """What others read. The restricted zone is the pipeline's own, and encrypted file by file."""
    return zone_of(dataset) in ("lake", "consented")
