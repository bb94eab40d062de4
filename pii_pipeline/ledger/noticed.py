"""Landing objects that were seen and may be in no batch yet: what `Ledger`'s transactions do with them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

import sqlalchemy as sa

from pii_pipeline.hours import arrival_in
from pii_pipeline.ledger.model import Known, LandingObject, Listing, Waiting
from pii_pipeline.ledger.tables import insert_new, listings, objects

_URIS_AT_ONCE = 500
"""SQLite takes no statement with very many parameters."""


def entries(stream: str, landed: Mapping[str, Sequence[LandingObject]]) -> list[dict[str, Any]]:
    """The objects of some hours as rows, in one order for everybody, so that two who enter the same ones
    cannot lock each other out."""
    found = [
        {
            "stream": stream,
            "uri": item.uri,
            "etag": item.etag,
            "hour": hour,
            "size": item.size,
            "last_modified": item.last_modified,
            "arrival": arrival_in(hour, item.last_modified),
        }
        for hour, of_hour in landed.items()
        for item in of_hour
    ]
    return sorted(found, key=lambda entry: (entry["uri"], entry["etag"]))


def known(connection: sa.Connection, stream: str, uris: Sequence[str]) -> dict[str, set[Known]]:
    """What the stream has entered under these uris, every version of each."""
    found: dict[str, set[Known]] = {}
    for start in range(0, len(uris), _URIS_AT_ONCE):
        chosen = objects.c.uri.in_(uris[start : start + _URIS_AT_ONCE])
        for row in connection.execute(sa.select(objects).where(objects.c.stream == stream, chosen)):
            found.setdefault(row.uri, set()).add(Known(row.etag, row.size, row.last_modified))
    return found


def waiting(connection: sa.Connection, stream: str) -> list[Waiting]:
    """The hours with objects that are in no batch yet, oldest first."""
    chosen = (objects.c.stream == stream) & objects.c.batch_id.is_(None)
    columns = (objects.c.hour, objects.c.uri, objects.c.etag)
    found = connection.execute(sa.select(*columns).where(chosen).order_by(objects.c.hour)).all()
    return [
        Waiting.of(hour, [(row.uri, row.etag) for row in group])
        for hour, group in groupby(found, key=lambda row: row.hour)
    ]


def listing(connection: sa.Connection, stream: str) -> Listing:
    """How far the stream's objects were looked at; the start, if never."""
    found = connection.execute(sa.select(listings).where(listings.c.stream == stream)).one_or_none()
    return Listing(found.after, found.began, found.complete) if found else Listing()


def keep_listing(connection: sa.Connection, stream: str, last: Listing) -> None:
    """Remembers how far."""
    insert_new(connection, listings, [{"stream": stream}], listings.c.stream)
    connection.execute(
        sa.update(listings)
        .where(listings.c.stream == stream)
        .values(after=last.after, began=last.began, complete=last.complete)
    )


def perhaps_overwritten(connection: sa.Connection, stream: str, hour: str) -> list[LandingObject]:
    """The objects of the hour that are in no batch, of whose uri the stream knows another version too."""
    other = objects.alias()
    another = sa.exists().where(
        other.c.stream == objects.c.stream, other.c.uri == objects.c.uri, other.c.etag != objects.c.etag
    )
    of_hour = (objects.c.stream == stream) & (objects.c.hour == hour)
    chosen = sa.select(objects).where(of_hour, objects.c.batch_id.is_(None), another)
    found = connection.execute(chosen.order_by(objects.c.uri, objects.c.etag)).all()
    return [LandingObject(row.uri, row.size, row.etag, row.last_modified) for row in found]


def withdraw(connection: sa.Connection, stream: str, overwritten: Sequence[LandingObject]) -> None:
    """Takes out those of the objects that are still in no batch."""
    for item in overwritten:
        connection.execute(
            sa.delete(objects).where(
                objects.c.stream == stream,
                objects.c.uri == item.uri,
                objects.c.etag == item.etag,
                objects.c.batch_id.is_(None),
            )
        )
