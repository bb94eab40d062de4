"""The landing zone: objects put where `raw_events` finds them, and the hours in which there are some."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import BinaryIO

from pii_pipeline.lake import Zone, content_tag, layout
from pii_pipeline.lake.files import open_input, put
from pii_pipeline.ledger import hour_of, hour_start

FIRST_HOUR = "2026-01-01T00"
"""The earliest hour of arrival there is; Dagster's partitions start with it."""


class NoSuchHour(ValueError):
    """Nothing can be filed under the hour."""


@dataclass(frozen=True, slots=True)
class Landed:
    """An object of the landing zone; `new` unless the same content was there under its name before."""

    uri: str
    bytes: int
    new: bool


def has_begun(hour: str) -> bool:
    """Whether there is this hour ("2026-11-22T10"), now."""
    return FIRST_HOUR <= hour <= hour_of(datetime.now(UTC))


def land(landing: Zone, stream: str, hour: str, name: str, source: BinaryIO) -> Landed:
    """Copies `source` (seekable, from its start) to an object called `name` of `stream` and `hour`.

    The object is there as a whole or not at all. Nothing is ever replaced: other content under a name that
    is taken goes beside it, its name made distinct by its digest, before the suffixes. Raises `NoSuchHour`
    for an hour before `FIRST_HOUR` or one that has not begun.
    """
    if not has_begun(hour):
        raise NoSuchHour(f"{hour} is before {FIRST_HOUR}, the first hour there is, or has not begun")
    source.seek(0)
    digest = content_tag(source)
    size = source.tell()
    path = ""
    for candidate in _names(name, digest):
        path = layout.landing_path(stream, hour_start(hour), candidate)
        try:
            with open_input(landing, path) as there:
                same = there.seek(0, 2) == size and there.seek(0) == 0 and content_tag(there) == digest
        except FileNotFoundError:
            source.seek(0)
            return Landed(put(landing, path, source).uri, size, new=True)
        if same:
            break
    return Landed(landing.uri_of(path), size, new=False)


def _names(name: str, digest: str) -> Iterator[str]:
    yield name
    suffixes = "".join(PurePosixPath(name).suffixes[-2:])
    stem = name.removesuffix(suffixes)
    yield f"{stem}-{digest[:8]}{suffixes}"
    yield f"{stem}-{digest}{suffixes}"
