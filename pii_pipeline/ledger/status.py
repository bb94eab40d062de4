"""What the ledger knows, added up per stream and hour."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from pii_pipeline.ledger.conservation import Counts, add_counts, violations
from pii_pipeline.ledger.model import upstream_of
from pii_pipeline.ledger.tables import batches, commits, files, objects


@dataclass(frozen=True)
class LayerStatus:
    """A layer of one stream and hour: sums over its batches' commits.

    `current`: how many of the `committed` batches were made from what is now committed upstream. `counts`:
    by name, ``bad_by_reason`` nested. `files` and `bytes`: of all the datasets the layer writes; a file that
    several batches share counts once.
    """

    committed: int
    current: int
    counts: Counts
    seconds: float
    files: int
    bytes: int


@dataclass(frozen=True)
class HourStatus:
    """One stream and hour. `objects` and `bytes` are what landed; `unsealed` of the objects are in no batch
    yet; `layers` holds the layers that have a commit."""

    stream: str
    hour: str
    objects: int
    unsealed: int
    bytes: int
    batches: int
    layers: dict[str, LayerStatus] = field(default_factory=dict)

    def pending(self, layer: str) -> int:
        """How many batches still lack a commit of this layer, or have one made from what was replaced since.

        That the contract or the code changed is not known here: the fingerprint tells.
        """
        known = self.layers.get(layer)
        return self.batches - (known.current if known else 0)

    def violations(self) -> list[str]:
        """The laws of conservation over the whole hour, layer by layer and from layer to layer."""
        wrong: list[str] = []
        for layer, known in self.layers.items():
            above = self.layers.get(upstream_of(layer) or "")
            whole = above is not None and above.committed == known.current == known.committed
            wrong += violations(layer, known.counts, above.counts if above and whole else None)
        return wrong


def status(connection: sa.Connection, stream: str | None, hour: str | None) -> list[HourStatus]:
    """Per stream and hour, ordered by both; one stream or one hour where they are given."""
    place = (objects.c.stream, objects.c.hour)
    landed = sa.select(
        *place,
        sa.func.count().label("objects"),
        sa.func.sum(sa.case((objects.c.batch_id.is_(None), 1), else_=0)).label("unsealed"),
        sa.func.sum(objects.c.size).label("bytes"),
        sa.func.count(objects.c.batch_id.distinct()).label("batches"),
    )
    landed = landed.where(*_chosen(objects, stream, hour)).group_by(*place).order_by(*place)
    layers = _layers(connection, stream, hour)
    return [
        HourStatus(
            row.stream,
            row.hour,
            row.objects,
            int(row.unsealed),
            int(row.bytes),
            row.batches,
            layers.get((row.stream, row.hour), {}),
        )
        for row in connection.execute(landed)
    ]


def _layers(
    connection: sa.Connection, stream: str | None, hour: str | None
) -> dict[tuple[str, str], dict[str, LayerStatus]]:
    place = (batches.c.stream, batches.c.hour, files.c.layer)
    distinct = (
        sa.select(*place, files.c.path, files.c.bytes)
        .join(batches, batches.c.id == files.c.batch_id)
        .where(*_chosen(batches, stream, hour))
        .distinct()
        .subquery()
    )
    of_place = (distinct.c.stream, distinct.c.hour, distinct.c.layer)
    sums = sa.select(*of_place, sa.func.count().label("number"), sa.func.sum(distinct.c.bytes).label("size"))
    written: dict[tuple[str, str, str], tuple[int, int]] = {
        (row.stream, row.hour, row.layer): (row.number, int(row.size))
        for row in connection.execute(sums.group_by(*of_place))
    }
    rows = connection.execute(
        sa.select(commits).where(*_chosen(commits, stream, hour)).order_by(commits.c.sequence)
    ).all()
    fingerprints = {(row.batch_id, row.layer): row.fingerprint for row in rows}
    grouped: dict[tuple[str, str], dict[str, list[sa.Row[Any]]]] = {}
    for row in rows:
        grouped.setdefault((row.stream, row.hour), {}).setdefault(row.layer, []).append(row)
    return {
        place: {
            layer: LayerStatus(
                committed=len(of_layer),
                current=sum(
                    row.upstream == fingerprints.get((row.batch_id, upstream_of(layer) or ""))
                    for row in of_layer
                ),
                counts=add_counts(row.counts for row in of_layer),
                seconds=sum(row.seconds for row in of_layer),
                files=written.get((*place, layer), (0, 0))[0],
                bytes=written.get((*place, layer), (0, 0))[1],
            )
            for layer, of_layer in of_place.items()
        }
        for place, of_place in grouped.items()
    }


def _chosen(table: sa.Table, stream: str | None, hour: str | None) -> list[sa.ColumnElement[bool]]:
    conditions = []
    if stream is not None:
        conditions.append(table.c.stream == stream)
    if hour is not None:
        conditions.append(table.c.hour == hour)
    return conditions
