"""Where what lies inside a zone: paths built and read back. Hours are UTC."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime

import xxhash

_HOUR = "%Y-%m-%dT%H"
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_LANDING = re.compile(r"(?P<stream>[a-z][a-z0-9_]*)/(\d{4})/(\d\d)/(\d\d)/(\d\d)/(?P<name>.+)")
_MAX_OBJECT_NAME = 180  # a file name has 255 bytes; the names of temporary files are longer


def hour_text(hour: datetime) -> str:
    """``2026-11-22T10``. `hour` is aware and a whole hour, else ValueError."""
    if hour.tzinfo is None:
        raise ValueError("an hour needs a time zone")
    hour = hour.astimezone(UTC)
    if (hour.minute, hour.second, hour.microsecond) != (0, 0, 0):
        raise ValueError("not a whole hour")
    return hour.strftime(_HOUR)


def parse_hour(text: str) -> datetime:
    """The hour that `hour_text` wrote as `text`; ValueError if it is none."""
    try:
        hour = datetime.strptime(text, _HOUR).replace(tzinfo=UTC)
    except ValueError:
        raise ValueError("an hour is written like 2026-11-22T10") from None
    if hour_text(hour) != text:
        raise ValueError("an hour is written like 2026-11-22T10")
    return hour


def landing_prefix(stream: str, hour: datetime) -> str:
    """The folder of what arrived in `hour`: ``webshop/2026/11/22/10``."""
    day, _, hour_of_day = hour_text(hour).partition("T")
    return f"{_name(stream)}/{day.replace('-', '/')}/{hour_of_day}"


def landing_path(stream: str, hour: datetime, name: str) -> str:
    """Where an object that somebody calls `name` lands; `name` becomes an `object_name`."""
    return f"{landing_prefix(stream, hour)}/{object_name(name)}"


@dataclass(frozen=True, slots=True)
class LandingPath:
    """The parts of the path of a landing object. `name` has slashes if the producer made folders."""

    stream: str
    hour: datetime
    name: str


def parse_landing_path(path: str) -> LandingPath | None:
    """What the path of a landing object says, or None if it lies in no hour of a stream."""
    match = _LANDING.fullmatch(path)
    if match is None:
        return None
    _, year, month, day, hour, _ = match.groups()
    try:
        return LandingPath(match["stream"], parse_hour(f"{year}-{month}-{day}T{hour}"), match["name"])
    except ValueError:
        return None


def hour_folder(stream: str, table: str, hour: datetime) -> str:
    """The folder of a table's files of one arrival hour: ``webshop/bad_events/hour=2026-11-22T10``."""
    return f"{_name(stream)}/{_name(table)}/hour={hour_text(hour)}"


def data_file(stream: str, table: str, hour: datetime, batch: str, fingerprint: str) -> str:
    """The Parquet file of one batch in a table: the same work has the same name."""
    for part in (batch, fingerprint):
        if not _PART.fullmatch(part):
            raise ValueError("batch and fingerprint are made of letters, digits, '.', '_' and '-'")
    return f"{hour_folder(stream, table, hour)}/{batch}-{fingerprint}.parquet"


def object_name(name: str) -> str:
    """`name` as one harmless part of a path: no folders, nothing hidden, ASCII, at most 180 bytes.

    A name that had to be changed carries a digest of what it was, so that two names never become one. Its
    suffixes stay, because they say how the object is compressed. Raises ValueError for an empty name.
    """
    if not name:
        raise ValueError("an object needs a name")
    clean = re.sub(r"[^A-Za-z0-9._-]+", "_", name)
    clean = re.sub(r"\.{2,}", ".", clean).lstrip("._-")
    if clean == name and len(clean) <= _MAX_OBJECT_NAME:
        return clean
    digest = xxhash.xxh3_64_hexdigest(name.encode("utf-8", "surrogateescape"))
    stem, suffixes = re.fullmatch(r"(.*?)((?:\.[A-Za-z0-9]{1,8}){0,2})", clean).groups()  # type: ignore[union-attr]
    return f"{stem[: _MAX_OBJECT_NAME - 40] or 'object'}-{digest}{suffixes}"


def _name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError("names of streams and tables match [a-z][a-z0-9_]*")
    return name
