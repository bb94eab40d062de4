from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pii_pipeline.validation import times

PLAIN = times.Times()
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
    assert PLAIN.parse(text) == NOON + microseconds
    screened, sure = PLAIN.screen(pa.array([text]))
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
    assert PLAIN.parse(text) is None
    assert not PLAIN.screen(pa.array([text]))[1][0]


@pytest.mark.parametrize("zone", ["", "Z", "+00:00"])
def test_the_screen_knows_nanoseconds(zone: str):
    texts = [f"2026-11-22 12:00:00.{'123456789'[:digits]}{zone}" for digits in range(1, 10)] + ["soon", None]
    screened, sure = PLAIN.screen(pa.array(texts))
    assert sure.tolist() == [True] * 9 + [False] * 2
    assert screened[:9].tolist() == [PLAIN.parse(text) for text in texts[:9]]
    assert screened[8] == NOON + 123_456
    assert not PLAIN.screen(pa.array([f"2026-11-22 12:00:00.1234567890{zone}"]))[1][0]


def test_milliseconds_since_1970_and_their_limits():
    values = [0, 1_795_348_800_000, -1, 253_402_300_799_999, 253_402_300_800_000, -(2**63), 2**63 - 1, None]
    screened, sure = PLAIN.screen(pa.array(values, pa.int64()))
    assert sure.tolist() == [True] * 4 + [False] * 4
    assert screened[:4].tolist() == [PLAIN.parse(value) for value in values[:4]]
    assert [PLAIN.parse(value) for value in values[4:]] == [None] * 4
    assert PLAIN.parse(True) is None


offsets = st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@settings(max_examples=200, deadline=None, database=None)
@given(st.lists(st.datetimes(datetime(1, 1, 3), datetime(9999, 12, 29), timezones=offsets), max_size=5))
def test_screen_and_parse_agree_with_the_standard_library(moments: list[datetime]):
    texts = [moment.isoformat() for moment in moments]
    expected = [times.microseconds(moment) for moment in moments]
    assert [PLAIN.parse(text) for text in texts] == expected
    screened, sure = PLAIN.screen(pa.array(texts, pa.string()))
    for moment, found, certain, want in zip(moments, screened, sure, expected, strict=True):
        assert certain or moment.year < 1000 or (moment.month, moment.day) == (2, 29)
        assert not certain or found == want


AMSTERDAM = "Europe/Amsterdam"


@pytest.mark.parametrize(
    ("text", "utc"),
    [
        ("2010-12-01 08:26:00", "2010-12-01T07:26:00"),
        ("2026-07-01 00:00:00", "2026-06-30T22:00:00"),
        ("2026-10-25 02:30:00", "2026-10-25T00:30:00"),  # comes twice: the first
        ("2026-03-29 02:30:00", "2026-03-29T01:30:00"),  # is skipped: an hour later, 03:30 there
        ("1937-06-30 12:00:00", "1937-06-30T10:40:28"),
    ],
)
def test_text_without_an_offset_is_in_the_contracts_zone(text: str, utc: str):
    there = times.Times("%Y-%m-%d %H:%M:%S", AMSTERDAM)
    expected = times.microseconds(datetime.fromisoformat(utc + "+00:00"))
    assert there.parse(text) == expected
    screened, sure = there.screen(pa.array([text]))
    assert not sure[0] or screened[0] == expected
    assert sure[0] or "02:30" in text or "1937" in text


def test_an_offset_in_the_text_counts_for_more_than_the_zone():
    there = times.Times(None, AMSTERDAM)
    assert there.parse("2026-11-22T12:00:00Z") == NOON
    assert there.parse("2026-11-22T12:00:00") == NOON - 3_600_000_000
    screened, sure = there.screen(pa.array(["2026-11-22T12:00:00Z", "2026-11-22T12:00:00", None]))
    assert sure.tolist() == [True, True, False]
    assert screened[:2].tolist() == [NOON, NOON - 3_600_000_000]


def test_other_forms_of_time():
    slashes = times.Times("%d/%m/%Y %H:%M")
    assert slashes.parse("22/11/2026 12:00") == NOON
    assert slashes.parse("2026-11-22T12:00:00Z") is None
    screened, sure = slashes.screen(pa.array(["22/11/2026 12:00", "31/02/2026 12:00", "soon", None]))
    assert sure.tolist() == [True, False, False, False]
    assert screened[0] == NOON
    assert "%d/%m/%Y" in slashes.expected
    for word, unit in (("epoch_s", 1_000_000), ("epoch_ms", 1000), ("epoch_us", 1)):
        counted = times.Times(word)
        assert counted.parse(NOON // unit) == NOON
        screened, sure = counted.screen(pa.array([NOON // unit, 2**62, None], pa.int64()))
        assert screened[0] == NOON
        assert sure.tolist() == [True, False, False]


@settings(max_examples=200, deadline=None, database=None)
@given(
    st.lists(st.datetimes(datetime(1990, 1, 1), datetime(2037, 12, 31)), max_size=20),
    st.sampled_from(
        [AMSTERDAM, "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe", "Africa/Casablanca"]
    ),
)
def test_zones_agree_with_the_standard_library(moments: list[datetime], zone: str):
    there = times.Times(None, zone)
    texts = [moment.isoformat(" ") for moment in moments]
    expected = [times.microseconds(moment.replace(tzinfo=ZoneInfo(zone))) for moment in moments]
    assert [there.parse(text) for text in texts] == expected
    screened, sure = there.screen(pa.array(texts, pa.string()))
    for found, certain, want in zip(screened, sure, expected, strict=True):
        assert not certain or found == want
