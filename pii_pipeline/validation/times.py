"""Event times, as text or as whole numbers, to microseconds since 1970 (UTC), two ways.

`Times.parse` decides; `Times.screen` does the common forms a column at a time and leaves out what it is not
sure of. Digits beyond microseconds are cut off; a leap second is the next second. Text without an offset is
in the contract's time zone: what comes twice there, as clocks go back, is the first; what is skipped, as they
go forward, is as much later (as in `zoneinfo`, and in Java).
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pii_pipeline.contracts.time_format import TimeFormat

TIMESTAMP = pa.timestamp("us", tz="UTC")

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_MILLISECOND = 1000  # in microseconds
_FIRST, _LAST = -62_135_596_800_000_000, 253_402_300_799_999_999  # years 1 to 9999, in microseconds
_UNSURE = -(2**63)
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
_LONG_FRACTION = r"(\.[0-9]{6})[0-9]{1,3}($|[Z+-])", r"\1\2"
"""More digits than the cast takes, and what is left of them."""


def microseconds(moment: datetime) -> int:
    """`moment` (with a time zone) as whole microseconds since 1970."""
    return (moment - _EPOCH) // _MICROSECOND


class Times:
    """Reads times written as a contract says.

    `format`: that of a `TimeFormat`; None is RFC 3339 for text and milliseconds for numbers.
    `zone`: the IANA name of the zone of text without an offset.
    """

    def __init__(self, format: str | None = None, zone: str = "UTC") -> None:
        self._format = None if format is None else TimeFormat.parse(format)
        self._unit = (self._format and self._format.unit) or _MILLISECOND
        self._zone = None if zone == "UTC" else ZoneInfo(zone)

    @property
    def expected(self) -> str:
        """What is wrong with a value that names no time."""
        if self._format is None:
            return "neither an RFC 3339 time nor epoch milliseconds"
        return f"not a time as the contract's time_format says: {self._format.text}"

    def parse(self, value: Any) -> int | None:
        """Microseconds since 1970 of a text or a number; None if it names no time."""
        try:
            if isinstance(value, str):
                text = value if self._format is None else self._format.to_iso(value)
                return None if text is None else self._parse_text(text)
            if isinstance(value, int | float) and not isinstance(value, bool):
                return microseconds(_EPOCH + timedelta(microseconds=int(value) * self._unit))
        except (ValueError, OverflowError):
            pass
        return None

    def screen(self, values: pa.Array) -> tuple[np.ndarray, np.ndarray]:
        """Microseconds since 1970 (int64) and whether they are certain (bool), for text or 64-bit numbers."""
        if pa.types.is_integer(values.type):
            return self._screen_numbers(values)
        if self._format is not None:
            values = self._format.column_to_iso(values)
        times, sure = self._screen_texts(values)
        if not sure.all():
            rest = pc.replace_substring_regex(values.filter(pa.array(~sure)), *_LONG_FRACTION)
            times[~sure], sure[~sure] = self._screen_texts(rest)
        return times, sure

    def _screen_texts(self, values: pa.Array) -> tuple[np.ndarray, np.ndarray]:
        times = np.zeros(len(values), np.int64)
        sure = np.zeros(len(values), bool)
        for pattern, type in ((_ZONED, TIMESTAMP), (_UNZONED, pa.timestamp("us"))):
            matches = pc.fill_null(pc.match_substring_regex(values, pattern), False)
            found = matches.to_numpy(zero_copy_only=False)
            if found.any():
                times[found] = pc.filter(values, matches).cast(type).cast(pa.int64()).to_numpy()
                sure |= found
                if pattern is _UNZONED and self._zone is not None:
                    offsets, known = _offsets(times[found], self._zone)
                    times[found] -= offsets
                    sure[found] = known
            if sure.all():
                break
        return times, sure

    def _screen_numbers(self, values: pa.Array) -> tuple[np.ndarray, np.ndarray]:
        numbers = pc.fill_null(values, _UNSURE).to_numpy(zero_copy_only=False)
        sure = (numbers >= _FIRST // self._unit) & (numbers <= _LAST // self._unit)
        return np.where(sure, numbers, 0) * self._unit, sure

    def _parse_text(self, text: str) -> int | None:
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
        elif self._zone is not None and text[-1] not in "Zz":
            offset = moment.replace(tzinfo=self._zone).utcoffset() or offset
        return microseconds(moment) + (timedelta(seconds=int(leap)) - offset) // _MICROSECOND


_STRETCH = 900_000_000
"""Microseconds within which a zone's clocks are looked at twice; today's changes fall between them."""


def _offsets(local: np.ndarray, zone: ZoneInfo) -> tuple[np.ndarray, np.ndarray]:
    """What a zone's clocks are ahead of UTC at these local times (µs), and whether that is certain (bool): it
    is not where the clocks change within a quarter of an hour."""
    stretches, which = np.unique(local // _STRETCH, return_inverse=True)
    offsets = np.zeros(len(stretches), np.int64)
    sure = np.zeros(len(stretches), bool)
    for number, stretch in enumerate(stretches.tolist()):
        begin = _EPOCH.replace(tzinfo=None) + timedelta(microseconds=stretch * _STRETCH)
        end = begin + timedelta(microseconds=_STRETCH - 1)
        found = {
            moment.replace(tzinfo=zone, fold=fold).utcoffset() for moment in (begin, end) for fold in (0, 1)
        }
        offset = found.pop()
        sure[number] = not found and offset is not None
        offsets[number] = (offset or timedelta()) // _MICROSECOND
    return offsets[which], sure[which]
