"""Where the zones are, which the ledger's paths are relative to.

The ledger remembers it from the first work on. Where a zone is said to be elsewhere, what was made would not
be found there, and nothing would miss it: so nobody works on an hour then, until somebody says that what lay
in the old place was moved along. Of landing only what was not read yet is needed; the rest is done with, and
may stay where it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import get_args

from pii_pipeline.lake import Zone, ZoneName
from pii_pipeline.lake.storage import Storage
from pii_pipeline.lake.zones import COMMON_SETTING, setting_of
from pii_pipeline.ledger import Lease
from pii_pipeline.pipeline.installation import Installation, zone_of

SAMPLE = 20
"""So many files are looked for where a zone is said to have been moved to."""


class ZoneMoved(Exception):
    """A zone is not where it was, and something is needed that lay there. The text quotes URIs of zones."""


class NotThere(Exception):
    """What is said to have been moved is not where it should be."""


@dataclass(frozen=True)
class Moved:
    """A zone that was at the URI `before`, is `now` said to be elsewhere, and what is `needed` of it: paths
    and bytes, of committed files or of landing objects that were not read yet."""

    zone: ZoneName
    before: str
    now: str
    needed: Sequence[tuple[str, int]]

    def __str__(self) -> str:
        number, one = len(self.needed), len(self.needed) == 1
        if self.zone == "landing":
            what = f"{number:,} {'object waits' if one else 'objects wait'} to be processed"
        else:
            what = f"{number:,} committed {'file is' if one else 'files are'}"
        return (
            f"{setting_of(self.zone)} or {COMMON_SETTING}: the {self.zone} zone was at {self.before}, where "
            f"{what}, and is at {self.now} now — set it back; or move all of it along, and then say so: "
            f"pii db zones --moved {self.zone}"
        )


def moved_zones(installation: Installation) -> list[Moved]:
    """The zones that are elsewhere than the ledger remembers. Changes nothing."""
    known = installation.ledger.zones()
    return [
        Moved(zone.name, known[zone.name], zone.uri, _needed(installation, zone.name))
        for zone in _all(installation)
        if known.get(zone.name, zone.uri) != zone.uri
    ]


def hold_to_places(installation: Installation) -> None:
    """Remembers where the zones are. Raises `ZoneMoved` if one was elsewhere and something is needed of it;
    where nothing is, it may be anywhere."""
    ledger = installation.ledger
    present = {zone.name: zone.uri for zone in _all(installation)}
    known = ledger.zones()
    if known == present:
        return
    moved = moved_zones(installation)
    if refused := [str(item) for item in moved if item.needed]:
        raise ZoneMoved("\n".join(refused))
    for item in moved:
        ledger.move_zone(item.zone, item.now)
    ledger.remember_zones(present)


def hour_lease(installation: Installation, stream: str, hour: str) -> AbstractContextManager[Lease]:
    """The lease of an hour, which everybody takes who works on it. Raises `ZoneMoved`."""
    hold_to_places(installation)
    return installation.ledger.lease(stream, hour)


def accept(installation: Installation, moved: Moved) -> int:
    """Has the ledger remember that the zone is where it is now; gives how many files were looked for there.

    Raises `NotThere` if one of these is not there, or of another size.
    """
    sample = spread(moved.needed, SAMPLE)
    storage = getattr(installation.zones, moved.zone).storage
    missing = sum(not _is_there(storage, path, size) for path, size in sample)
    if missing:
        looked = f"{len(sample):,} files that were looked for"
        raise NotThere(
            f"{moved.zone}: of {looked} {missing:,} are not at {moved.now}, or of another size — move all "
            f"that lay at {moved.before} along"
        )
    installation.ledger.move_zone(moved.zone, moved.now)
    return len(sample)


def spread(found: Sequence[tuple[str, int]], most: int) -> list[tuple[str, int]]:
    """At most so many of them, from the first to the last at equal distances."""
    if len(found) <= most:
        return list(found)
    return [found[number * (len(found) - 1) // (most - 1)] for number in range(most)]


def _is_there(storage: Storage, path: str, size: int) -> bool:
    try:
        return storage.info(path).size == size
    except FileNotFoundError:
        return False


def _needed(installation: Installation, zone: ZoneName) -> list[tuple[str, int]]:
    if zone == "landing":
        return installation.ledger.unread_objects()
    return [
        (path, size) for dataset, path, size in installation.ledger.held_files() if zone_of(dataset) == zone
    ]


def _all(installation: Installation) -> list[Zone]:
    return [getattr(installation.zones, name) for name in get_args(ZoneName)]
