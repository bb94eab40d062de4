"""Where what lies inside a zone: paths built and read back. Hours are UTC."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import xxhash

_HOUR = "%Y-%m-%dT%H"
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_DATED = re.compile(
    r"""/(?: (?P<year>\d{4})/(?P<month>\d\d)/(?P<day>\d\d)(?:/(?P<hour>\d\d))?
        | (?:dt|date|day)=(?P<date>\d{4}-\d\d-\d\d)(?:/(?:hour|hr|h)=(?P<hour_of_date>\d\d))?
        | year=(?P<y>\d{4})/month=(?P<m>\d\d?)/day=(?P<d>\d\d?)(?:/hour=(?P<h>\d\d?))?
        )(?=/)""",
    re.VERBOSE,
)
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


def landing_prefixes(stream: str, hour: datetime) -> list[str]:
    """The folders into which producers put what arrives in `hour`: ours, Firehose's too, and Hive's."""
    day, _, hour_of_day = hour_text(hour).partition("T")
    return [landing_prefix(stream, hour), f"{stream}/dt={day}/hour={hour_of_day}"]


def landing_hour(path: str, last_modified: datetime, first: datetime) -> datetime:
    """The hour in which an object of the landing zone arrived.

    That of the folder it lies in: ``2026/11/22/10``, ``dt=2026-11-22/hour=10`` or
    ``year=2026/month=11/day=22/hour=10``, at any depth. In a folder of a day, the hour of its last
    modification, or the nearest of that day. In any other, or one of before `first`: that of its last
    modification, or `first`.
    """
    modified = max(_whole_hour(last_modified), first)
    found = _DATED.search(path)
    if found is None:
        return modified
    year, month, day, hour, date, hour_of_date, y, m, d, h = found.groups()
    try:
        text = date or f"{year or y}-{month or m}-{day or d}"
        start = datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
        within = hour or hour_of_date or h
        dated = start.replace(hour=int(within)) if within else _nearest(start, modified)
    except ValueError:
        return modified
    return dated if dated >= first else modified


def _nearest(day: datetime, modified: datetime) -> datetime:
    return min(max(modified, day), day.replace(hour=23))


def _whole_hour(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def hour_folder(stream: str, table: str, hour: datetime) -> str:
    """The folder of a table's files of one arrival hour: ``webshop/bad_events/hour=2026-11-22T10``."""
    return f"{_name(stream)}/{_name(table)}/hour={hour_text(hour)}"


def data_file(stream: str, table: str, hour: datetime, batch: str, fingerprint: str) -> str:
    """The Parquet file of one batch in a table, but for the digest that `named_by_content` adds."""
    for part in (batch, fingerprint):
        if not _PART.fullmatch(part):
            raise ValueError("batch and fingerprint are made of letters, digits, '.', '_' and '-'")
    return f"{hour_folder(stream, table, hour)}/{batch}-{fingerprint}.parquet"


def named_by_content(path: str, digest: str) -> str:
    """The name of a `data_file` with this content. Other content has another name, whoever made it: so no
    file can be written over with anything but itself."""
    return f"{path.removesuffix('.parquet')}-{digest}.parquet"


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
