"""Arrival hours as ledger and command line write them: UTC, text, ``2026-11-22T10``.

Text and not a timestamp, because an hour is a label here: it is the partition and a piece of every path, it
sorts as text in the order of time, and no database or driver can shift it into its own time zone.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

_HOUR = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}")
_LAST_MOMENT = timedelta(hours=1) - timedelta(microseconds=1)


def hour_start(hour: str) -> datetime:
    """The hour's first moment, with time zone UTC. Raises `ValueError` for anything but ``YYYY-MM-DDTHH``."""
    if _HOUR.fullmatch(hour) is None:
        raise ValueError("an hour is written YYYY-MM-DDTHH, in UTC")
    return datetime.strptime(hour, "%Y-%m-%dT%H").replace(tzinfo=UTC)


def hour_of(moment: datetime) -> str:
    """The hour that holds `moment` (with a time zone)."""
    return as_utc(moment).strftime("%Y-%m-%dT%H")


def arrival_in(hour: str, last_modified: datetime) -> datetime:
    """`last_modified` clamped into the hour: when an object of that hour counts as arrived.

    An object can be landed into an hour other than the one it was written in (a backfill, a store's clock
    a little off); records whose time is their arrival must fall into the hour they are filed under.
    """
    start = hour_start(hour)
    return min(max(as_utc(last_modified), start), start + _LAST_MOMENT)


def as_utc(moment: datetime) -> datetime:
    """The same moment in UTC. Raises `ValueError` for one without a time zone, which could mean anything."""
    if moment.tzinfo is None:
        raise ValueError("a moment needs a time zone")
    return moment.astimezone(UTC)
