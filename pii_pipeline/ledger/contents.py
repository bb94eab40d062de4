"""What the ledger holds of one hour, as something that can be compared with what it held before."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

import sqlalchemy as sa

from pii_pipeline.ledger.tables import commits, objects


@dataclass(frozen=True)
class HourContents:
    """`sealed`: uri and etag of the objects that are in batches. `digest` changes with any object, batch or
    commit of the hour; a batch that is made again from the same gives the same."""

    sealed: frozenset[tuple[str, str]]
    digest: str


def contents(connection: sa.Connection, stream: str, hour: str) -> HourContents:
    """The contents of the hour."""
    landed = connection.execute(
        sa.select(objects.c.uri, objects.c.etag, objects.c.batch_id, objects.c.position).where(
            objects.c.stream == stream, objects.c.hour == hour
        )
    ).all()
    made = connection.execute(
        sa.select(
            commits.c.batch_id, commits.c.layer, commits.c.fingerprint, commits.c.upstream, commits.c.counts
        ).where(commits.c.stream == stream, commits.c.hour == hour)
    ).all()
    # Sorted here: databases sort text in orders of their own.
    everything = [
        sorted([tuple(row) for row in landed], key=lambda row: row[:2]),
        sorted([tuple(row) for row in made], key=lambda row: row[:2]),
    ]
    return HourContents(
        frozenset((row.uri, row.etag) for row in landed if row.batch_id is not None),
        hashlib.sha256(json.dumps(everything, sort_keys=True).encode()).hexdigest(),
    )
