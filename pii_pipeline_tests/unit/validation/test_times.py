from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pii_pipeline.validation import times

NOON = times.microseconds(datetime(2026, 11, 22, 12, tzinfo=UTC))


@pytest.mark.parametrize(
    ("text", "microseconds"),
    [
        ("2026-11-22T12:00:00Z", 0),
        ("2026-11-22t12:00:00z", 0),
        ("2026-11-22 12:00:00", 0),
        ("2026-11-22T14:00:00+02:00", 0),
        ("2026-11-22T06:30:00-05:30", 0),
        ("2026-11-22T12:00:00.5Z", 500_000),
        ("2026-11-22T12:00:00.123456789Z", 123_456),
        ("2026-11-22T11:59:60Z", 0),
    ],
)
def test_forms_of_a_time(text: str, microseconds: int):
    assert times.parse(text) == NOON + microseconds
    screened, sure = times.screen(pa.array([text]))
    assert not sure[0] or screened[0] == NOON + microseconds


@pytest.mark.parametrize(
    "text",
    [
        "", "2026-11-22", "12:00:00Z", "2026-02-30T00:00:00Z", "2025-02-29T00:00:00Z", "2026-13-01T00:00:00Z",
        "2026-11-22T24:00:00Z", "2026-11-22T12:60:00Z", "2026-11-22T12:00:61Z", "2026-11-22T12:00:00+24:00",
        "2026-11-22T12:00:00+0200", "2026-11-22T12:00:00Z ", "2026-11-22T12:00:00Z\n", "0000-01-01T00:00:00Z",
        "\uff12\uff10\uff12\uff16-11-22T12:00:00Z", "2026-11-22T12:00:00.Z", "2026-11-22T12:00Z",
    ],
)  # fmt: skip
def test_what_names_no_time(text: str):
    assert times.parse(text) is None
    assert not times.screen(pa.array([text]))[1][0]


def test_milliseconds_since_1970_and_their_limits():
    values = [0, 1_795_348_800_000, -1, 253_402_300_799_999, 253_402_300_800_000, -(2**63), 2**63 - 1, None]
    screened, sure = times.screen(pa.array(values, pa.int64()))
    assert sure.tolist() == [True] * 4 + [False] * 4
    assert screened[:4].tolist() == [times.parse(value) for value in values[:4]]
    assert [times.parse(value) for value in values[4:]] == [None] * 4
    assert times.parse(True) is None


offsets = st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@settings(max_examples=200, deadline=None, database=None)
@given(st.lists(st.datetimes(datetime(1, 1, 3), datetime(9999, 12, 29), timezones=offsets), max_size=5))
def test_screen_and_parse_agree_with_the_standard_library(moments: list[datetime]):
    texts = [moment.isoformat() for moment in moments]
    expected = [times.microseconds(moment) for moment in moments]
    assert [times.parse(text) for text in texts] == expected
    screened, sure = times.screen(pa.array(texts, pa.string()))
    for moment, found, certain, want in zip(moments, screened, sure, expected, strict=True):
        assert certain or moment.year < 1000 or (moment.month, moment.day) == (2, 29)
        assert not certain or found == want
