"""What may be deleted, what is being deleted, and what was.

Deleting is three steps: the ledger writes down what is to go, and from then on no reader finds it; it is
deleted from its zone; the ledger crosses it off, and counts it. Whoever is killed in between leaves what the
next one goes on with, and everything is counted once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from pii_pipeline.ledger.model import (
    PSEUDONYMIZED_EVENTS,
    VALIDATED_EVENTS,
    VAULT_RECORDS,
    CommittedFile,
    upstream_of,
)
from pii_pipeline.ledger.tables import commits, deletions, expiring, files, insert_new, now, objects

_READERS = {VALIDATED_EVENTS: PSEUDONYMIZED_EVENTS, PSEUDONYMIZED_EVENTS: VAULT_RECORDS}
"""By layer: the one that reads what it writes into the restricted zone."""

_AT_ONCE = 200
"""SQLite takes no statement with very many parameters."""


@dataclass(frozen=True)
class Placed:
    """Where a version of a landing object is filed; `batch_id` is None while it is in no batch."""

    hour: str
    batch_id: str | None


@dataclass(frozen=True)
class RestrictedFile:
    """A committed file of a layer in the restricted zone.

    `used_at`: when its batch was committed in the layer that reads it, made of what is there now; None if it
    is not.
    """

    hour: str
    batch_id: str
    file: CommittedFile
    used_at: datetime | None


@dataclass(frozen=True)
class Expiring:
    """To be deleted: a landing object (with `etag`), or a file that is in no commit any more (without)."""

    dataset: str
    path: str
    etag: str
    bytes: int


@dataclass(frozen=True)
class Deletion:
    """So much of a dataset and hour was deleted by retention, at `deleted_at`."""

    stream: str
    hour: str
    dataset: str
    number: int
    bytes: int
    deleted_at: datetime


def placed(connection: sa.Connection, stream: str, uris: Sequence[str]) -> dict[tuple[str, str], Placed]:
    """By uri and etag: every version of these objects that the stream knows."""
    found: dict[tuple[str, str], Placed] = {}
    columns = (objects.c.uri, objects.c.etag, objects.c.hour, objects.c.batch_id)
    for start in range(0, len(uris), _AT_ONCE):
        chosen = (objects.c.stream == stream) & objects.c.uri.in_(uris[start : start + _AT_ONCE])
        for row in connection.execute(sa.select(*columns).where(chosen)):
            found[row.uri, row.etag] = Placed(row.hour, row.batch_id)
    return found


def finished(connection: sa.Connection, stream: str, hour: str, layers: Iterable[str]) -> set[str]:
    """The hour's batches that have a commit in each of the `layers`, made of what is committed above it."""
    made = {
        (row.batch_id, row.layer): row
        for row in connection.execute(
            sa.select(commits.c.batch_id, commits.c.layer, commits.c.fingerprint, commits.c.upstream).where(
                commits.c.stream == stream, commits.c.hour == hour
            )
        )
    }

    def current(batch_id: str, layer: str) -> bool:
        commit, above = made.get((batch_id, layer)), upstream_of(layer)
        if commit is None or above is None:
            return commit is not None
        upstream = made.get((batch_id, above))
        return upstream is not None and commit.upstream == upstream.fingerprint

    wanted = list(layers)
    found = {batch_id for batch_id, _ in made}
    return {batch_id for batch_id in found if all(current(batch_id, layer) for layer in wanted)}


def restricted_files(
    connection: sa.Connection, stream: str, layer: str, datasets: Sequence[str], hour: str | None
) -> list[RestrictedFile]:
    """The committed files of these datasets of a layer, by hour and batch."""
    written, reader = commits.alias("written"), commits.alias("reader")
    made_of_it = (
        (reader.c.batch_id == written.c.batch_id)
        & (reader.c.layer == _READERS[layer])
        & (reader.c.upstream == written.c.fingerprint)
    )
    statement = (
        sa.select(written.c.hour, files, reader.c.committed_at)
        .join(written, (written.c.batch_id == files.c.batch_id) & (written.c.layer == files.c.layer))
        .outerjoin(reader, made_of_it)
        .where(
            written.c.stream == stream,
            written.c.layer == layer,
            files.c.dataset.in_(datasets),
            sa.true() if hour is None else written.c.hour == hour,
        )
        .order_by(written.c.hour, files.c.batch_id, files.c.position)
    )
    return [
        RestrictedFile(
            row.hour,
            row.batch_id,
            CommittedFile(row.dataset, row.path, row.bytes, row.rows),
            row.committed_at,
        )
        for row in connection.execute(statement)
    ]


def expire(connection: sa.Connection, stream: str, hour: str, going: Sequence[Expiring]) -> None:
    """Writes down what is to be deleted, and takes the files among it out of their commits, which stay."""
    rows = [
        {
            "stream": stream,
            "dataset": item.dataset,
            "path": item.path,
            "etag": item.etag,
            "hour": hour,
            "bytes": item.bytes,
        }
        for item in going
    ]
    insert_new(connection, expiring, rows, expiring.c.path)
    paths = [item.path for item in going if not item.etag]
    for start in range(0, len(paths), _AT_ONCE):
        connection.execute(sa.delete(files).where(files.c.path.in_(paths[start : start + _AT_ONCE])))


def still_expiring(connection: sa.Connection, stream: str, hour: str) -> list[Expiring]:
    """What is to be deleted of the hour. Not files that were made again since under the same name."""
    held = sa.exists().where(files.c.path == expiring.c.path)
    chosen = (expiring.c.stream == stream) & (expiring.c.hour == hour)
    found = connection.execute(sa.select(expiring).where(chosen, (expiring.c.etag != "") | ~held))
    return [Expiring(row.dataset, row.path, row.etag, row.bytes) for row in found]


def cross_off(
    connection: sa.Connection, stream: str, hour: str, gone: Sequence[Expiring], identifier: str
) -> None:
    """Enters what is gone as numbers, each once; `identifier`: the same where this is done again."""
    sizes: dict[str, list[int]] = {}
    for row in _taken_off(connection, stream, hour, gone):
        sizes.setdefault(row.dataset, []).append(row.bytes)
    entries = [
        {
            "id": f"{identifier} {dataset}",
            "stream": stream,
            "hour": hour,
            "dataset": dataset,
            "number": len(of_dataset),
            "bytes": sum(of_dataset),
            "deleted_at": now(connection),
        }
        for dataset, of_dataset in sizes.items()
    ]
    insert_new(connection, deletions, entries, deletions.c.id)


def spare(connection: sa.Connection, stream: str, hour: str, some: Sequence[Expiring]) -> None:
    """Takes off what was overwritten since: nothing of that version is there to be deleted."""
    _taken_off(connection, stream, hour, some)


def _taken_off(connection: sa.Connection, stream: str, hour: str, some: Sequence[Expiring]) -> list[Any]:
    """Those of them that were there."""
    found: list[Any] = []
    columns = (expiring.c.dataset, expiring.c.path, expiring.c.etag)
    for start in range(0, len(some), _AT_ONCE):
        keys = [(item.dataset, item.path, item.etag) for item in some[start : start + _AT_ONCE]]
        statement = sa.delete(expiring).where(
            expiring.c.stream == stream, expiring.c.hour == hour, sa.tuple_(*columns).in_(keys)
        )
        found += connection.execute(statement.returning(expiring.c.dataset, expiring.c.bytes)).all()
    return found


def expiring_hours(connection: sa.Connection, stream: str) -> list[str]:
    """The hours of which something is still to be deleted, oldest first."""
    statement = sa.select(expiring.c.hour).where(expiring.c.stream == stream).distinct()
    return list(connection.execute(statement.order_by(expiring.c.hour)).scalars())


def deleted(connection: sa.Connection, stream: str) -> list[Deletion]:
    """What retention has deleted of the stream, in the order in which it did."""
    statement = sa.select(deletions).where(deletions.c.stream == stream)
    ordered = statement.order_by(deletions.c.deleted_at, deletions.c.hour, deletions.c.dataset)
    return [
        Deletion(row.stream, row.hour, row.dataset, row.number, row.bytes, row.deleted_at)
        for row in connection.execute(ordered)
    ]
