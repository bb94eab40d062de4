"""What the ledger takes in, gives out and refuses with."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pii_pipeline.hours import as_utc
from pii_pipeline.ledger.conservation import Counts

VALIDATED_EVENTS = "validated_events"
PSEUDONYMIZED_EVENTS = "pseudonymized_events"
VAULT_RECORDS = "vault_records"
RELAYED_ORIGINALS = "relayed_originals"


_UPSTREAM = {
    VALIDATED_EVENTS: None,
    PSEUDONYMIZED_EVENTS: VALIDATED_EVENTS,
    RELAYED_ORIGINALS: VALIDATED_EVENTS,
}


def table_layer(dataset: str, table: str) -> str:
    """The layer that loads a dataset into a warehouse table. Its name says what it is made from."""
    return f"{dataset}/{table}"


def upstream_of(layer: str) -> str | None:
    """The layer that `layer` is made from; None for the first. A layer of any other name is made from
    the pseudonymized events: a derived dataset, the vault's records; or it is a `table_layer`."""
    dataset, of_table, _ = layer.partition("/")
    if of_table:
        return dataset
    return _UPSTREAM.get(layer, PSEUDONYMIZED_EVENTS)


@dataclass(frozen=True)
class LandingObject:
    """An object as the store lists it; `size` in bytes as stored, `last_modified` with a time zone.

    The same uri with another etag is another object.
    """

    uri: str
    size: int
    etag: str
    last_modified: datetime

    def __post_init__(self) -> None:
        if not self.uri or not self.etag:
            raise ValueError("a landing object has a uri and an etag")
        as_utc(self.last_modified)


@dataclass(frozen=True)
class Known:
    """What the ledger has of a version of an object, by which a listing tells whether it is new."""

    etag: str
    size: int
    last_modified: datetime


@dataclass(frozen=True)
class Waiting:
    """Objects of an hour that are in no batch yet. `digest` tells these ones from any others."""

    hour: str
    objects: int
    digest: str

    @classmethod
    def of(cls, hour: str, versions: Iterable[tuple[str, str]]) -> Waiting:
        """Of these (uri, etag)."""
        ordered = sorted(versions)  # here: databases sort text in orders of their own
        return cls(hour, len(ordered), hashlib.sha256(json.dumps(ordered).encode()).hexdigest())


@dataclass(frozen=True)
class Listing:
    """How far a stream's landing objects have been looked at.

    after: uri of the last object of an unfinished listing; None between listings
    began: when the unfinished listing began
    complete: when the last finished one began; None before the first
    """

    after: str | None = None
    began: datetime | None = None
    complete: datetime | None = None


@dataclass(frozen=True)
class SealedObject(LandingObject):
    """An object in its batch; `arrival` is `last_modified` clamped into the hour."""

    arrival: datetime


@dataclass(frozen=True)
class Batch:
    """The unit of work: one or more whole objects of one stream and hour, fixed once sealed.

    `id` is unique among all streams, safe in a file name, and the same wherever the same hour is sealed in
    the same steps; `number` counts from 1 within the hour; `objects` are in the order of their records.
    """

    id: str
    stream: str
    hour: str
    number: int
    bytes: int
    objects: tuple[SealedObject, ...]


@dataclass(frozen=True)
class CommittedFile:
    """A file that readers may see, and which of its rows are the commit's.

    `path` is relative to its zone; `bytes` as stored, of the whole file. The commit's `rows` begin with row
    number `first_row`: before and after them the file may hold those of other batches (compaction). `columns`
    is the same for files whose columns are alike; empty if that is not known.
    """

    dataset: str
    path: str
    bytes: int
    rows: int
    first_row: int = 0
    columns: str = ""

    @property
    def span(self) -> range:
        """The numbers of the commit's rows in the file."""
        return range(self.first_row, self.first_row + self.rows)


@dataclass(frozen=True)
class Part:
    """What a file holds of one batch. `position`: of the file in the batch's commit, whose `fingerprint` this
    is; `number`: of the batch in its hour."""

    batch_id: str
    number: int
    layer: str
    position: int
    fingerprint: str
    file: CommittedFile


@dataclass(frozen=True)
class ActiveContract:
    """A version of a contract (``handle/name/version``) that was active when events were processed, what its
    file said then, and when that was for the first time."""

    contract: str
    digest: str
    active_since: datetime


@dataclass(frozen=True)
class Commit:
    """What was made of a batch in a layer.

    `sequence` counts the first commits of a stream and layer, from 1; making a batch again keeps it.
    `upstream` is the fingerprint of the upstream commit that was read.
    """

    batch_id: str
    stream: str
    hour: str
    layer: str
    fingerprint: str
    upstream: str | None
    files: tuple[CommittedFile, ...]
    counts: Counts
    seconds: float
    sequence: int
    committed_at: datetime

    def path_of(self, dataset: str) -> str | None:
        """Where its file of a dataset is that has one for each batch; None if it has none, or retention has
        deleted it."""
        return next((file.path for file in self.files if file.dataset == dataset), None)


@dataclass(frozen=True)
class CommitResult:
    """`superseded`: files of the replaced commit that no commit holds any more, to be removed later."""

    commit: Commit
    superseded: tuple[CommittedFile, ...]


@dataclass(frozen=True)
class Earlier:
    """What a batch is compared with for duplicates; `head` goes into `Ledger.commit` as `expected_head`."""

    commits: tuple[Commit, ...]
    head: int


class LedgerError(Exception):
    """Base of the ledger's refusals. Messages hold names and numbers of the ledger, never data."""


class UnknownBatch(LedgerError):
    """The batch was never sealed in this ledger."""


class ConservationError(LedgerError):
    """Records would be lost or appear from nowhere."""


class StaleHead(LedgerError):
    """Another batch was committed since the earlier ones were read: look for duplicates again."""


class StaleUpstream(LedgerError):
    """The upstream commit that was read is not there, or was replaced meanwhile: make the layer again."""


class SharedFile(LedgerError):
    """A file that is to be replaced holds rows of other batches too: it has to be taken apart first."""


class StaleFiles(LedgerError):
    """The files that were read are not those that the commits hold now."""


class LeaseHeld(LedgerError):
    """Somebody else is at it; `name` is the lease's."""

    def __init__(self, name: str, owner: str, expires_at: datetime) -> None:
        super().__init__(f"{name} is held by {owner} until {expires_at:%Y-%m-%d %H:%M:%S} UTC")
        self.owner = owner
        self.expires_at = expires_at
        self._said = (name, owner, expires_at)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), self._said


class LeaseLost(LedgerError):
    """The lease expired and somebody else took it."""
