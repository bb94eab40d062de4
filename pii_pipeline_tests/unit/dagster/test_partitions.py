"""Partition keys and the ledger's hours name the same hours."""

from datetime import UTC, datetime, timedelta

import pytest

from pii_pipeline.partitions import HOURS, hour_of_partition, partition_of_hour
from pii_pipeline.pipeline.landing import FIRST_HOUR


def test_key_and_hour_are_one_another() -> None:
    assert hour_of_partition("2026-11-22-10:00") == "2026-11-22T10"
    assert partition_of_hour("2026-11-22T10") == "2026-11-22-10:00"


@pytest.mark.parametrize("key", ["2026-11-22T10", "2026-11-22-10:30", "2026-11-22-10:00\n", "", "2026-11-22"])
def test_what_is_no_key_is_refused(key: str) -> None:
    with pytest.raises(ValueError, match="YYYY-MM-DD-HH:00"):
        hour_of_partition(key)


@pytest.mark.parametrize("hour", ["2026-11-22-10:00", "2026-11-22T10:00", "2026-11-22T1", ""])
def test_what_is_no_hour_is_refused(hour: str) -> None:
    with pytest.raises(ValueError, match="YYYY-MM-DDTHH"):
        partition_of_hour(hour)


def test_partitions_go_from_the_first_hour_to_the_open_one() -> None:
    now = datetime(2026, 11, 22, 10, 59, 59, tzinfo=UTC)
    keys = HOURS.get_partition_keys(current_time=now)
    assert hour_of_partition(keys[0]) == FIRST_HOUR
    assert keys[-1] == "2026-11-22-10:00", "the open hour is a partition"
    assert HOURS.get_partition_keys(current_time=now + timedelta(seconds=1))[-1] == "2026-11-22-11:00"
