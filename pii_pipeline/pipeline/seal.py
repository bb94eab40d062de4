"""raw_events: enter the hour's landing objects into the ledger and cut them into batches. Copies nothing."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from pii_pipeline.lake import hour_folder, sweep_temporaries, tag_now, tag_of
from pii_pipeline.ledger import LandingObject, Lease, LeaseHeld, LeaseLost, hour_start
from pii_pipeline.pipeline.arrivals import in_folders
from pii_pipeline.pipeline.installation import BESIDE, Installation
from pii_pipeline.pipeline.landing import has_begun
from pii_pipeline.pipeline.layer import offer_layer
from pii_pipeline.pipeline.places import hour_lease
from pii_pipeline.pipeline.validate import validation
from pii_pipeline.streams.model import LAYERS, Stream

RAW_EVENTS = "raw_events"


@dataclass(frozen=True)
class Sealed:
    """The hour as it is sealed now: its objects, batches and bytes; `new_objects` came since last time."""

    objects: int
    new_objects: int
    batches: int
    bytes: int
    seconds: float


def seal_hour(installation: Installation, stream: Stream, hour: str) -> Sealed:
    """Seals what has landed for `stream` in `hour` ("2026-11-22T10", UTC).

    In the hour's own folders, and what was entered of it from elsewhere. The first that is done with an
    hour: a secret that is missing or another one is refused before it, and so is a contract that has changed.
    """
    started = time.perf_counter()
    installation.secret_version(stream)
    installation.hold_to_contracts(stream, using=False)
    if (stream.name, hour) not in installation.sealed_early:  # or else this run has begun, and swept, already
        sweep_hour(installation, stream, hour)
    landing = installation.zones.landing
    found = []
    for info in in_folders(landing, stream.name, hour):
        with suppress(FileNotFoundError):  # gone since it was listed: it never was part of the hour
            found.append(LandingObject(info.path, info.size, tag_of(landing, info), info.last_modified))
    installation.ledger.enter(stream.name, hour, found)
    _withdraw_overwritten(installation, stream, hour, found)
    new = installation.ledger.seal(stream.name, hour, installation.batch_bytes)
    sealed_before = installation.sealed_early.pop((stream.name, hour), 0)
    batches = installation.ledger.batches(stream.name, hour)
    return Sealed(
        objects=sum(len(batch.objects) for batch in batches),
        new_objects=sealed_before + sum(len(batch.objects) for batch in new),
        batches=len(batches),
        bytes=sum(batch.bytes for batch in batches),
        seconds=time.perf_counter() - started,
    )


def _withdraw_overwritten(
    installation: Installation, stream: Stream, hour: str, there: Sequence[LandingObject]
) -> None:
    """Takes out versions that a sensor has noticed and that were overwritten before a run sealed them: had it
    not looked in between, nobody would know of them. Of those that are not `there` the storage is asked.

    One whose object is gone stays, and will be told as missing.
    """
    listed = {(item.uri, item.etag) for item in there}
    overwritten = []
    for item in installation.ledger.perhaps_overwritten(stream.name, hour):
        if (item.uri, item.etag) not in listed:
            with suppress(FileNotFoundError):
                if tag_now(installation.zones.landing, item.uri) != item.etag:
                    overwritten.append(item)
    installation.ledger.withdraw(stream.name, overwritten)


def begin_hour(installation: Installation, stream: Stream, hour: str, force: bool = False) -> None:
    """Seals the hour for a run that is about to, and lets worker processes begin with what they are for.

    What is made so is committed by the run, when it comes to that; `seal_hour` still says what came. Where
    anything goes wrong here, the run meets it again, and says so.
    """
    if not has_begun(hour):
        return
    with suppress(Exception):
        new = seal_hour(installation, stream, hour).new_objects
        installation.sealed_early[stream.name, hour] = new
        offer_layer(installation, stream, hour, validation(installation, stream), force)


def sweep_hour(installation: Installation, stream: Stream, hour: str) -> None:
    """Removes what was written for this hour and has no name yet, by runs that were killed or whose later
    steps never came, and what the ledger has to be deleted. What a living process writes stays; what it has
    finished and not committed goes, unless it is at work on the hour now, and is made again by it.
    """
    with suppress(LeaseHeld, LeaseLost), hour_lease(installation, stream.name, hour) as lease:
        sweep(installation, stream, hour, lease)


def sweep(installation: Installation, stream: Stream, hour: str, lease: Lease) -> int:
    """The same for who has the hour's lease. Gives how many files went that had been committed, or nearly,
    and that no commit holds."""
    for dataset in (*LAYERS, *BESIDE, *stream.derived):
        sweep_temporaries(
            installation.zone_holding(dataset), hour_folder(stream.name, dataset, hour_start(hour))
        )
    return installation.ledger.remove_unheld(stream.name, hour, lease, installation.delete)
