"""raw_events: enter the hour's landing objects into the ledger and cut them into batches. Copies nothing."""

from __future__ import annotations

import time
from dataclasses import dataclass

from pii_pipeline.formats import etag
from pii_pipeline.lake import hour_folder, landing_prefix, list_objects, open_input, sweep_temporaries
from pii_pipeline.ledger import LandingObject, hour_start
from pii_pipeline.pipeline.installation import EVENT_DIGESTS, Installation
from pii_pipeline.streams.model import LAYERS, Stream


@dataclass(frozen=True)
class Sealed:
    """The hour as it is sealed now: its objects, batches and bytes; `new_objects` came since last time."""

    objects: int
    new_objects: int
    batches: int
    bytes: int
    seconds: float


def seal_hour(installation: Installation, stream: Stream, hour: str) -> Sealed:
    """Seals what has landed for `stream` in `hour` ("2026-11-22T10", UTC)."""
    started = time.perf_counter()
    _sweep(installation, stream, hour)
    landing = installation.zones.landing
    found = []
    for info in list_objects(landing, landing_prefix(stream.name, hour_start(hour))):
        try:
            with open_input(landing, info.path) as file:
                found.append(LandingObject(info.path, info.size, etag(file), info.last_modified))
        except FileNotFoundError:
            continue  # gone between listing and reading: it never was part of the hour
    new = installation.ledger.enter(stream.name, hour, found)
    installation.ledger.seal(stream.name, hour, installation.batch_bytes)
    batches = installation.ledger.batches(stream.name, hour)
    return Sealed(
        objects=sum(len(batch.objects) for batch in batches),
        new_objects=new,
        batches=len(batches),
        bytes=sum(batch.bytes for batch in batches),
        seconds=time.perf_counter() - started,
    )


def _sweep(installation: Installation, stream: Stream, hour: str) -> None:
    """Removes what killed runs of this hour left half-written; what a living one writes stays."""
    for dataset in (*LAYERS, EVENT_DIGESTS, *stream.derived):
        sweep_temporaries(
            installation.zone_holding(dataset), hour_folder(stream.name, dataset, hour_start(hour))
        )
