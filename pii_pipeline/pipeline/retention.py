"""What is old is deleted: landing objects, and what is in the restricted zone. Nothing in the lake or beyond.

A landing object goes when it is older than its stream keeps it and its batch is committed in every layer. The
validated events of a batch go when they are in the lake, and have been for as long as the stream says; the
originals on their way into the vault, when it has had them for as long. All can be made again while the
landing object is there (`layer`). Digests go when no batch that can still be made would be compared with
them. What is not made to its end stays, and is reported.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import groupby, islice

from pii_pipeline.hours import hour_of, hour_start
from pii_pipeline.lake import ObjectInfo, Version, delete, delete_versions, tag_of, walk_objects
from pii_pipeline.ledger import (
    PSEUDONYMIZED_EVENTS,
    VALIDATED_EVENTS,
    Expiring,
    Lease,
    LeaseHeld,
    LeaseLost,
    RestrictedFile,
)
from pii_pipeline.pipeline.arrivals import OBJECTS_AT_ONCE, hour_of_object, layers_of
from pii_pipeline.pipeline.installation import (
    EVENT_DIGESTS,
    LATEST_CONSENTS,
    REVERSIBLE_ORIGINALS,
    Installation,
)
from pii_pipeline.pipeline.landing import FIRST_HOUR
from pii_pipeline.pipeline.layer import Progress, silent
from pii_pipeline.pipeline.places import hour_lease
from pii_pipeline.pipeline.seal import RAW_EVENTS
from pii_pipeline.streams.model import Stream

_FIRST = hour_start(FIRST_HOUR)


@dataclass
class Amount:
    """So many objects or files, and their size."""

    number: int = 0
    bytes: int = 0

    def add(self, size: int) -> None:
        """One more."""
        self.number += 1
        self.bytes += size


@dataclass
class Retained:
    """What retention did for a stream, or would do.

    deleted: by dataset; landing objects are ``raw_events``
    kept: what would be old enough and stays, since not all is made of it: by hour and dataset
    busy: the hours that a run was at work on: the next retention's
    """

    stream: str
    deleted: dict[str, Amount] = field(default_factory=dict)
    kept: dict[tuple[str, str], Amount] = field(default_factory=dict)
    busy: set[str] = field(default_factory=set)


def apply_retention(
    installation: Installation,
    stream: Stream,
    at: datetime,
    dry_run: bool = False,
    progress: Progress = silent,
) -> Retained:
    """Deletes what is too old `at` that moment; with `dry_run`, only tells.

    Works under the lease of each hour, for as long as a thousand objects take. May be killed at any moment,
    and run twice at once.
    """
    work = _Retention(installation, stream, dry_run, progress)
    if not dry_run:
        for hour in installation.ledger.expiring_hours(stream.name):
            work.expire(hour, lambda hour: [])  # what an earlier one was killed at
    oldest = _expire_landing(work, at - stream.retention.landing)
    _expire_restricted(work, at, oldest)
    return work.result


class _Retention:
    """Of one stream."""

    def __init__(self, installation: Installation, stream: Stream, dry_run: bool, progress: Progress) -> None:
        self.installation = installation
        self.stream = stream
        self.progress = progress
        self.result = Retained(stream.name)
        self._dry_run = dry_run

    def expire(self, hour: str, choose: Callable[[str], Sequence[Expiring]]) -> bool:
        """Deletes what `choose` says of the hour, asked while no run works on it; False if one does."""
        if self._dry_run:
            self._count(choose(hour))
            return True
        try:
            with hour_lease(self.installation, self.stream.name, hour) as lease:
                self._expire(hour, choose(hour), lease)
        except (LeaseHeld, LeaseLost):
            self.result.busy.add(hour)
            return False
        return True

    def _expire(self, hour: str, going: Sequence[Expiring], lease: Lease) -> None:
        ledger, name = self.installation.ledger, self.stream.name
        if going:
            ledger.expire(name, hour, going, lease)
        expiring = ledger.expiring(name, hour)
        lease.renew()  # what has been made again meanwhile is not to be deleted
        overwritten = self._delete(expiring)
        gone = [item for item in expiring if item not in overwritten]
        ledger.expired(name, hour, gone, list(overwritten))
        self._count(gone)

    def _delete(self, expiring: Iterable[Expiring]) -> set[Expiring]:
        """Deletes them from their zones. Returns landing objects that were overwritten since, and stay."""
        objects: dict[Version, Expiring] = {}
        for item in expiring:
            if item.dataset == RAW_EVENTS:
                objects[Version(item.path, item.bytes, item.etag)] = item
            else:
                delete(self.installation.zone_holding(item.dataset), item.path)
        return {objects[item] for item in delete_versions(self.installation.zones.landing, list(objects))}

    def _count(self, gone: Iterable[Expiring]) -> None:
        for item in gone:
            self.result.deleted.setdefault(item.dataset, Amount()).add(item.bytes)


def _expire_landing(work: _Retention, before: datetime) -> str | None:
    """Of objects last modified before then. Gives the oldest hour that still has objects."""
    installation, stream = work.installation, work.stream
    hours: set[str] = set()
    listed = walk_objects(installation.zones.landing, stream.name)
    while chunk := list(islice(listed, OBJECTS_AT_ONCE)):
        work.progress(RAW_EVENTS, len(chunk), sum(info.size for info in chunk))
        hours |= {hour_of_object(info) for info in chunk if info.last_modified >= before}
        hours |= _expire_objects(work, [info for info in chunk if info.last_modified < before])
    return min(hours, default=None)


def _expire_objects(work: _Retention, old: Sequence[ObjectInfo]) -> set[str]:
    """Gives the hours of those that stay."""
    stream, ledger = work.stream, work.installation.ledger
    placed = ledger.placed(stream.name, [info.path for info in old])
    hours: dict[str, list[tuple[str | None, Expiring]]] = {}
    for info in old:
        with suppress(FileNotFoundError):  # gone since it was listed
            item = Expiring(RAW_EVENTS, info.path, tag_of(work.installation.zones.landing, info), info.size)
            place = placed.get((item.path, item.etag))
            hour, batch_id = (place.hour, place.batch_id) if place else (hour_of_object(info), None)
            hours.setdefault(hour, []).append((batch_id, item))
    left: set[str] = set()
    for hour, of_hour in hours.items():

        def choose(hour: str, of_hour: Sequence[tuple[str | None, Expiring]] = of_hour) -> list[Expiring]:
            finished = ledger.finished(stream.name, hour, layers_of(stream))
            for batch_id, item in of_hour:
                if batch_id not in finished:
                    work.result.kept.setdefault((hour, RAW_EVENTS), Amount()).add(item.bytes)
                    left.add(hour)
            return [item for batch_id, item in of_hour if batch_id in finished]

        if not work.expire(hour, choose):
            left.add(hour)
    return left


def _expire_restricted(work: _Retention, at: datetime, oldest: str | None) -> None:
    """Of validated events that are in the lake, digests with which nothing will be compared (`oldest` is the
    first hour of which a batch may be made again), and what the vault has."""
    stream = work.stream
    keep = stream.retention.restricted or timedelta(0)
    since = digests_since(stream, at, oldest)
    _expire_files(
        work,
        VALIDATED_EVENTS,
        (VALIDATED_EVENTS, EVENT_DIGESTS),
        lambda of_hour: spent(of_hour, at, keep, since),
    )
    _expire_files(
        work,
        PSEUDONYMIZED_EVENTS,
        (REVERSIBLE_ORIGINALS, LATEST_CONSENTS),
        lambda of_hour: loaded(of_hour, at, keep, wanted=stream.reversible),
    )


def _expire_files(
    work: _Retention,
    layer: str,
    datasets: Sequence[str],
    divide: Callable[[Sequence[RestrictedFile]], tuple[list[RestrictedFile], list[RestrictedFile]]],
) -> None:
    """Of files that a layer writes into the restricted zone. `divide`: which of an hour's are to go, and
    which only stay because they are not used yet."""
    name, ledger = work.stream.name, work.installation.ledger
    for hour, of_hour in groupby(ledger.restricted_files(name, layer, datasets), lambda found: found.hour):
        if not any(divide(list(of_hour))):
            continue

        def choose(hour: str) -> list[Expiring]:
            going, staying = divide(ledger.restricted_files(name, layer, datasets, hour))
            for found in staying:
                work.result.kept.setdefault((hour, found.file.dataset), Amount()).add(found.file.bytes)
            return [Expiring(found.file.dataset, found.file.path, "", found.file.bytes) for found in going]

        work.expire(hour, choose)


def digests_since(stream: Stream, at: datetime, oldest: str | None) -> str:
    """The first hour whose digests may be asked for: by a batch that arrives now, or was made of objects that
    are still there; of an hour a batch is compared with those of its window."""
    first = at - stream.retention.landing
    if oldest is not None:
        first = min(first, hour_start(oldest))
    return hour_of(max(first - stream.dedupe_window, _FIRST))


def spent(
    files: Sequence[RestrictedFile], at: datetime, keep: timedelta, since: str
) -> tuple[list[RestrictedFile], list[RestrictedFile]]:
    """Which of an hour's files are to go; and the validated events that only stay because they are not in the
    lake. The digests of a batch say which of its validated events are duplicates, and so stay beside them."""
    validated = [found for found in files if found.file.dataset == VALIDATED_EVENTS]
    going = [found for found in validated if found.used_at is not None and found.used_at + keep <= at]
    waiting = [found for found in validated if found.used_at is None]
    staying = {found.batch_id for found in validated} - {found.batch_id for found in going}
    digests = [
        found
        for found in files
        if found.file.dataset == EVENT_DIGESTS and found.hour < since and found.batch_id not in staying
    ]
    return going + digests, waiting


def loaded(
    files: Sequence[RestrictedFile], at: datetime, keep: timedelta, wanted: bool
) -> tuple[list[RestrictedFile], list[RestrictedFile]]:
    """Which of an hour's files for the vault are to go, and which only stay because it has not got them; if
    the stream keeps no originals any more, none is `wanted` there."""
    if not wanted:
        return list(files), []
    going = [found for found in files if found.used_at is not None and found.used_at + keep <= at]
    return going, [found for found in files if found.used_at is None]
