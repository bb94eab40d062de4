"""One partition is one arrival hour (UTC), and every asset of every stream has the same ones.

Two partition objects in one job do not resolve, so there is this one. Dagster writes an hour's key
``2026-11-22-10:00``, everything below Dagster ``2026-11-22T10``.
"""

from __future__ import annotations

import re

import dagster as dg

from pii_pipeline.pipeline.landing import FIRST_HOUR

_KEY = re.compile(r"(\d{4}-\d{2}-\d{2})-(\d{2}):00")
_HOUR = re.compile(r"(\d{4}-\d{2}-\d{2})T(\d{2})")


def hour_of_partition(key: str) -> str:
    """``2026-11-22-10:00`` → ``2026-11-22T10``. Raises `ValueError` for anything else."""
    match = _KEY.fullmatch(key)
    if match is None:
        raise ValueError("a partition is written YYYY-MM-DD-HH:00, in UTC")
    return f"{match[1]}T{match[2]}"


def partition_of_hour(hour: str) -> str:
    """``2026-11-22T10`` → ``2026-11-22-10:00``. Raises `ValueError` for anything else."""
    match = _HOUR.fullmatch(hour)
    if match is None:
        raise ValueError("an hour is written YYYY-MM-DDTHH, in UTC")
    return f"{match[1]}-{match[2]}:00"


HOURS = dg.HourlyPartitionsDefinition(
    # Fixed: a moving start would take old partitions, and what the UI knows of them, away.
    start_date=partition_of_hour(FIRST_HOUR),
    timezone="UTC",
    fmt="%Y-%m-%d-%H:%M",
    # The open hour is a partition too: events are looked at while they arrive.
    end_offset=1,
)
