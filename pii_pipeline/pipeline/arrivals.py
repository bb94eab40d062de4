"""What has landed, entered into the ledger object by object: which hour it belongs to, and which hours wait.

An object is entered before anything is asked for its sake. So whoever lists may stop at any moment and go
on later: what waits for a run is what the ledger has in no batch yet, and not what somebody remembers.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import islice

from pii_pipeline.hours import hour_of, hour_start
from pii_pipeline.lake import (
    ObjectInfo,
    Zone,
    landing_hour,
    landing_prefixes,
    list_objects,
    tag_of,
    walk_objects,
)
from pii_pipeline.ledger import (
    PSEUDONYMIZED_EVENTS,
    RELAYED_ORIGINALS,
    VALIDATED_EVENTS,
    VAULT_RECORDS,
    Known,
    LandingObject,
    Listing,
    Waiting,
    table_layer,
)
from pii_pipeline.pipeline.installation import Installation
from pii_pipeline.pipeline.landing import FIRST_HOUR, has_begun
from pii_pipeline.streams.model import Stream

OVERLAP = timedelta(hours=1)
"""How far before the beginning of the last listing the next one still looks at every object. A store dates an
object from when its upload began, and its clock is not ours."""

OBJECTS_AT_ONCE = 1_000
_FIRST = hour_start(FIRST_HOUR)


@dataclass(frozen=True, slots=True)
class Noticed:
    """`seen` objects were listed, `new` of them entered; `listing` is where the next look goes on."""

    seen: int
    new: int
    listing: Listing


def notice(
    installation: Installation, stream: Stream, listing: Listing, seconds: float = float("inf")
) -> Noticed:
    """Enters the objects that have landed and are not in the ledger, for about `seconds`, from where the last
    look ended."""
    until = time.monotonic() + seconds
    began = listing.began or datetime.now(UTC)
    since = listing.complete and listing.complete - OVERLAP
    seen = new = 0
    after = listing.after
    listed = walk_objects(installation.zones.landing, stream.name, after)
    while chunk := list(islice(listed, OBJECTS_AT_ONCE)):
        seen += len(chunk)
        # Only a store dates its objects itself: a file may have been moved here with the time of long ago.
        recent = [info for info in chunk if since is None or not info.tag or info.last_modified >= since]
        new += enter(installation, stream, recent)
        after = chunk[-1].path
        if time.monotonic() > until:
            return Noticed(seen, new, replace(listing, after=after, began=began))
    return Noticed(seen, new, Listing(complete=began))


def notice_more(installation: Installation, stream: Stream, seconds: float) -> Noticed:
    """The same, from where the ledger says that the last look ended. Two who do this at once both list; where
    either ended, all before has been looked at."""
    noticed = notice(installation, stream, installation.ledger.listing(stream.name), seconds)
    installation.ledger.keep_listing(stream.name, noticed.listing)
    return noticed


def look_again(installation: Installation, stream: Stream, hours: Sequence[str], until: float) -> None:
    """Enters what is in the folders of these hours, and then all that has landed, until `time.monotonic()` is
    `until`."""
    for hour in hours:
        if time.monotonic() > until:
            return
        enter(installation, stream, in_folders(installation.zones.landing, stream.name, hour))
    notice(installation, stream, Listing(), until - time.monotonic())


def enter(installation: Installation, stream: Stream, found: Sequence[ObjectInfo]) -> int:
    """Enters those of the objects `found` that the ledger does not know, each in its hour; gives how many."""
    known = installation.ledger.known(stream.name, [info.path for info in found])
    hours: dict[str, list[LandingObject]] = {}
    for info in found:
        item = _unless_known(installation.zones.landing, info, known.get(info.path, set()))
        if item is not None:
            hours.setdefault(hour_of_object(info), []).append(item)
    return installation.ledger.enter_hours(stream.name, hours)


def waiting(installation: Installation, stream: Stream) -> list[Waiting]:
    """The hours that have begun and have objects in no batch yet, oldest first."""
    return [hour for hour in installation.ledger.waiting(stream.name) if has_begun(hour.hour)]


def unfinished(installation: Installation, stream: Stream, since: str, until: str) -> list[str]:
    """The hours from `since` to `until`, both included, of which something is in no batch, or a batch is not
    made to its end; oldest first. What changed since in a contract or the code is not known here."""
    return [
        status.hour
        for status in installation.ledger.status(stream.name)
        if since <= status.hour <= until
        and (status.unsealed or any(status.pending(layer) for layer in layers_of(stream)))
    ]


def layers_of(stream: Stream) -> tuple[str, ...]:
    """The layers that are committed for every batch of the stream, in the order in which they are made."""
    tables = (table_layer(table.dataset, name) for name, table in stream.warehouse.items())
    vault = (VAULT_RECORDS,) if stream.reversible else ()
    relayed = (RELAYED_ORIGINALS,) if stream.relay else ()
    return VALIDATED_EVENTS, *relayed, PSEUDONYMIZED_EVENTS, *vault, *stream.derived, *tables


def in_folders(landing: Zone, stream: str, hour: str) -> list[ObjectInfo]:
    """The objects in the folders of an hour, wherever else there are some of it."""
    return [
        info
        for folder in landing_prefixes(stream, hour_start(hour))
        for info in list_objects(landing, folder)
        if hour_of_object(info) == hour
    ]


def is_stray(info: ObjectInfo, stream: str) -> bool:
    """Whether sealing its hour finds the object only if it was entered before."""
    hour = hour_start(hour_of_object(info))
    return not any(info.path.startswith(f"{folder}/") for folder in landing_prefixes(stream, hour))


def hour_of_object(info: ObjectInfo) -> str:
    """The hour an object of the landing zone is filed under."""
    return hour_of(landing_hour(info.path, info.last_modified, _FIRST))


def is_known(info: ObjectInfo, known: Collection[Known]) -> bool:
    """Whether one of the `known` versions has the object's tag; without one, its size and age."""
    if info.tag is not None:
        return any(version.etag == info.tag for version in known)
    return any((version.size, version.last_modified) == (info.size, info.last_modified) for version in known)


def _unless_known(landing: Zone, info: ObjectInfo, known: Collection[Known]) -> LandingObject | None:
    """The object as it is to be entered; None if it is entered already, or gone."""
    if is_known(info, known):
        return None  # sealing reads it once more: nothing depends on this being right
    try:
        return LandingObject(info.path, info.size, tag_of(landing, info), info.last_modified)
    except FileNotFoundError:
        return None
