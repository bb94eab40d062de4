"""Event times: RFC 3339 text or epoch milliseconds to microseconds since 1970 (UTC), two ways.

`parse` decides; `screen` does the common forms a column at a time and leaves out what it is not sure of.
Text without an offset is UTC. Digits beyond microseconds are cut off; a leap second is the next second.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

TIMESTAMP = pa.timestamp("us", tz="UTC")

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_FIRST, _LAST = -62_135_596_800_000, 253_402_300_799_999  # years 1 to 9999, in milliseconds
_UNSURE = _FIRST - 1
_TEXT = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})[Tt ]([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]{1,9}))?"
    r"(?:[Zz]|([+-])([0-9]{2}):([0-9]{2}))?"
)
# The 29th of February and the years before 1000 are left to `parse`: with them out, no text that matches
# can make the cast raise or go astray.
_COMMON = (
    r"\A[1-9][0-9]{3}-(?:(?:0[1-9]|1[0-2])-(?:0[1-9]|1[0-9]|2[0-8])|(?:0[13-9]|1[0-2])-(?:29|30)|(?:0[13578]|1[02])-31)"
    r"[T ](?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]{1,6})?"
)
_ZONED = _COMMON + r"(?:Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])\z"
_UNZONED = _COMMON + r"\z"


def microseconds(moment: datetime) -> int:
    """`moment` (with a time zone) as whole microseconds since 1970."""
    return (moment - _EPOCH) // _MICROSECOND


def parse(value: Any) -> int | None:
    """Microseconds since 1970 of a text or a number of milliseconds; None if it names no time."""
    try:
        if isinstance(value, str):
            return _parse_text(value)
        if isinstance(value, int | float) and not isinstance(value, bool):
            return microseconds(_EPOCH + timedelta(milliseconds=int(value)))
    except (ValueError, OverflowError):
        pass
    return None


def _parse_text(text: str) -> int | None:
    match = _TEXT.fullmatch(text)
    if match is None:
        return None
    year, month, day, hour, minute, second = (int(part) for part in match.groups()[:6])
    leap = second == 60
    fraction = int((match[7] or "").ljust(6, "0")[:6])
    moment = datetime(year, month, day, hour, minute, 59 if leap else second, fraction, UTC)
    offset = timedelta()
    if match[8]:
        hours, minutes = int(match[9]), int(match[10])
        if hours > 23 or minutes > 59:
            return None
        offset = timedelta(hours=hours, minutes=minutes) * (1 if match[8] == "+" else -1)
    return microseconds(moment) + (timedelta(seconds=int(leap)) - offset) // _MICROSECOND


def screen(values: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """Microseconds since 1970 (int64) and whether they are certain (bool), for text or int64 milliseconds."""
    if pa.types.is_integer(values.type):
        milliseconds = pc.fill_null(values, _UNSURE).to_numpy(zero_copy_only=False)
        sure = (milliseconds >= _FIRST) & (milliseconds <= _LAST)
        return np.where(sure, milliseconds, 0) * 1000, sure
    times = np.zeros(len(values), np.int64)
    sure = np.zeros(len(values), bool)
    for pattern, type in ((_ZONED, TIMESTAMP), (_UNZONED, pa.timestamp("us"))):
        matches = pc.fill_null(pc.match_substring_regex(values, pattern), False)
        found = matches.to_numpy(zero_copy_only=False)
        if found.any():
            times[found] = pc.filter(values, matches).cast(type).cast(pa.int64()).to_numpy()
            sure |= found
        if sure.all():
            break
    return times, sure
