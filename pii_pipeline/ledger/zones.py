"""Where the zones are that paths are relative to, and what is needed of them: for `Ledger`'s transactions."""

from __future__ import annotations

from collections.abc import Mapping

import sqlalchemy as sa

from pii_pipeline.ledger.model import VALIDATED_EVENTS
from pii_pipeline.ledger.tables import commits, files, insert_new, listings, objects, zones


def remembered(connection: sa.Connection) -> dict[str, str]:
    """The URI of each zone that is known."""
    return {row.zone: row.uri for row in connection.execute(sa.select(zones))}


def remember(connection: sa.Connection, uris: Mapping[str, str]) -> None:
    """Enters those that are not known yet."""
    entries = [{"zone": zone, "uri": uri} for zone, uri in sorted(uris.items())]
    insert_new(connection, zones, entries, zones.c.zone)


def move(connection: sa.Connection, zone: str, uri: str) -> None:
    """From now on the zone is there. How far it has been listed says nothing about another place."""
    connection.execute(sa.update(zones).where(zones.c.zone == zone).values(uri=uri))
    if zone == "landing":
        connection.execute(sa.delete(listings))


def held_files(connection: sa.Connection) -> list[tuple[str, str, int]]:
    """Dataset, path and bytes of every file that a commit holds, once each, in this order."""
    columns = (files.c.dataset, files.c.path, files.c.bytes)
    found = connection.execute(sa.select(*columns).distinct().order_by(*columns))
    return [(row.dataset, row.path, row.bytes) for row in found]


def unread_objects(connection: sa.Connection) -> list[tuple[str, int]]:
    """Uri and bytes of every landing object of which no validated events are committed, by uri."""
    of_batch = (commits.c.batch_id == objects.c.batch_id) & (commits.c.layer == VALIDATED_EVENTS)
    found = (
        sa.select(objects.c.uri, objects.c.size)
        .outerjoin(commits, of_batch)
        .where(commits.c.batch_id.is_(None))
        .order_by(objects.c.uri, objects.c.size)
    )
    return [(row.uri, row.size) for row in connection.execute(found)]
