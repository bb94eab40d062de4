"""Moments as a contract has them written."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from pii_pipeline.contracts.model import Contract
from pii_pipeline.contracts.time_format import TimeFormat

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = 1_000  # in microseconds


def written(moment: datetime, contract: Contract, text: bool) -> str | int:
    """`moment` (with a time zone) in the contract's format and zone; without a format RFC 3339 for a field of
    `text`, else milliseconds since 1970.

    A text without an offset, of the hour that comes twice as clocks go back, will be read as of the first.
    """
    format = None if contract.time_format is None else TimeFormat.parse(contract.time_format)
    if text and format is not None:
        return moment.astimezone(ZoneInfo(contract.time_zone)).strftime(format.text)
    if text:
        return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    unit = (format and format.unit) or _MILLISECOND
    return (moment - _EPOCH) // timedelta(microseconds=unit)
