"""Written times: the small language, its two engines, and Java's patterns."""

import re
from datetime import datetime

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pii_pipeline.contracts.time_format import TimeFormat, from_java, to_java

FORMATS = [
    "%Y-%m-%d %H:%M:%S",
    "%d/%m/%Y %H:%M",
    "%d.%m.%Y",
    "%Y%m%d%H%M%S%f",
    "%m-%d-%Y T%H [%M] (%S),%f",
    "100%% on %d|%m|%Y é\t^$.*+?",
    "%Y-%m-%dT%H:%M:%S.%f%z",
    "%z %d/%m/%Y",
]


@pytest.mark.parametrize(
    ("format", "text", "iso"),
    [
        ("%Y-%m-%d %H:%M:%S", "2010-12-01 08:26:00", "2010-12-01 08:26:00"),
        ("%d/%m/%Y", "01/12/2010", "2010-12-01 00:00:00"),
        ("%d/%m/%Y %H", "01/12/2010 08", "2010-12-01 08:00:00"),
        ("%d/%m/%Y %H:%M", "01/12/2010 08:26", "2010-12-01 08:26:00"),
        ("%Y%m%d%H%M%S%f", "20101201082600123", "2010-12-01 08:26:00.123"),
        ("%Y-%m-%d %H:%M:%S.%f%z", "2010-12-01 08:26:00.5Z", "2010-12-01 08:26:00.5Z"),
        ("%Y-%m-%d %H:%M:%S%z", "2010-12-01 08:26:00+02:00", "2010-12-01 08:26:00+02:00"),
        ("%Y-%m-%d %H:%M:%S%z", "2010-12-01 08:26:00-0230", "2010-12-01 08:26:00-02:30"),
        ("%z %d/%m/%Y", "+0100 01/12/2010", "2010-12-01 00:00:00+01:00"),
        ("100%% %Y.%m.%d", "100% 2010.12.01", "2010-12-01 00:00:00"),
        ("%m/%d/%Y %H:%M", "1/2/2010 8:6", "2010-01-02 08:06:00"),
        ("%d.%m.%Y %H:%M:%S.%f%z", "1.2.2010 3:4:5.6+01:00", "2010-02-01 03:04:05.6+01:00"),
        ("%Y-%m%dT%H", "2010-1201T8", "2010-12-01 08:00:00"),
    ],
)
def test_text_becomes_iso(format, text, iso):
    written = TimeFormat.parse(format)
    assert written.to_iso(text) == iso
    assert written.column_to_iso(pa.array([text, None])).to_pylist() == [iso, None]
    datetime.fromisoformat(iso)


@pytest.mark.parametrize(
    ("format", "text"),
    [
        ("%Y%m%d", "2010121"),
        ("%Y-%m-1%d", "2010-12-11"),
        ("%Y-%m-%d", "2010-12-001"),
        ("%Y-%m-%d", "2010-12-01 "),
        ("%Y-%m-%d", "2010-12-01\n"),
        ("%Y-%m-%d", "x2010-12-01"),
        ("%Y.%m.%d", "2010-12-01"),
        ("%Y-%m-%d", "\u0662\u0660\u0661\u0660-12-01"),
        ("%Y-%m-%d %H:%M:%S%z", "2010-12-01 08:26:00"),
        ("%Y-%m-%d %H:%M:%S%z", "2010-12-01 08:26:00+02"),
        ("%Y-%m-%d %H:%M:%S.%f", "2010-12-01 08:26:00.1234567890"),
    ],
)
def test_other_text_is_of_no_such_format(format, text):
    written = TimeFormat.parse(format)
    assert written.to_iso(text) is None
    assert written.column_to_iso(pa.array([text])).to_pylist() == [None]


@given(
    st.sampled_from(FORMATS),
    st.datetimes(datetime(1000, 1, 1)),
    st.sampled_from(["Z", "+12:00", "-1130"]),
    st.booleans(),
)
def test_both_engines_read_what_strftime_writes(format, moment, zone, lone_digits):
    text = moment.strftime(format.replace("%z", "ZONE"))
    text = re.sub(r"\b0([0-9])\b", r"\1", text) if lone_digits else text
    text = text.replace("ZONE", zone)
    written = TimeFormat.parse(format)
    iso = written.to_iso(text)
    assert iso is not None
    assert written.column_to_iso(pa.array([text])).to_pylist() == [iso]
    read = datetime.fromisoformat(iso).replace(tzinfo=None)
    coarse = {"%H": {"hour": 0}, "%M": {"minute": 0}, "%S": {"second": 0}, "%f": {"microsecond": 0}}
    missing = {
        key: zero for name, parts in coarse.items() if name not in format for key, zero in parts.items()
    }
    assert read == moment.replace(**missing)


@given(st.sampled_from(FORMATS), st.text("0123456789-+:/.Z T[](),|", max_size=40))
def test_both_engines_agree_on_any_text(format, text):
    written = TimeFormat.parse(format)
    assert written.column_to_iso(pa.array([text])).to_pylist() == [written.to_iso(text)]


@pytest.mark.parametrize(("word", "unit"), [("epoch_s", 1_000_000), ("epoch_ms", 1000), ("epoch_us", 1)])
def test_words_for_counts(word, unit):
    assert TimeFormat.parse(word) == TimeFormat(word, (), unit)


def test_zoned():
    assert TimeFormat.parse("%Y-%m-%d%z").zoned
    assert TimeFormat.parse("epoch_s").zoned
    assert not TimeFormat.parse("%Y-%m-%d %%z").zoned


@pytest.mark.parametrize(
    ("format", "message"),
    [
        (
            "%y-%m-%d",
            "unknown directive `%y`; one of %Y %m %d %H %M %S %f %z %%, anything else stands for itself",
        ),
        ("%Y-%m-%d %", "unknown directive `%`; "),
        ("%Y-%m", "`%d` is missing; a format names year, month and day"),
        ("%H:%M", "`%Y` is missing; "),
        ("", "`%Y` is missing; "),
        ("epoch", "or is one word: epoch_s, epoch_ms, epoch_us"),
        ("%Y-%m-%d %Y", "`%Y` stands twice; "),
        ("%Y-%m-%d %M", "`%M` without `%H`; add it"),
        ("%Y-%m-%d %H:%S", "`%S` without `%M`; add it"),
        ("%Y-%m-%d %H:%M.%f", "`%f` without `%S`; add it"),
    ],
)
def test_no_format(format, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        TimeFormat.parse(format)


# --- Java ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "format"),
    [
        ("yyyy-MM-dd HH:mm:ss", "%Y-%m-%d %H:%M:%S"),
        ("uuuu-MM-dd'T'HH:mm:ss.SSSXXX", "%Y-%m-%dT%H:%M:%S.%f%z"),
        ("dd/MM/yyyy HH:mm", "%d/%m/%Y %H:%M"),
        ("yyyyMMdd", "%Y%m%d"),
        ("M/d/yyyy H:m", "%m/%d/%Y %H:%M"),
        ("yyyy-MM-dd HH:mm:ss Z", "%Y-%m-%d %H:%M:%S %z"),
        ("yyyy.MM.dd 'o''clock' HH", "%Y.%m.%d o'clock %H"),
        ("yyyy.MM.dd '' HH", "%Y.%m.%d ' %H"),
        ("yyyy.MM.dd 100%", "%Y.%m.%d 100%%"),
    ],
)
def test_from_java(pattern, format):
    assert from_java(pattern) == format


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("dd MMM yyyy", "Java's `MMM` (a month by its name) cannot"),
        ("dd/MM/yyyy hh:mm a", "Java's `hh` (a half of the day) cannot"),
        ("dd/MM/yy", "Java's `yy` (a year of two digits) cannot"),
        ("dd/MM/yyyy HH:mm VV", "Java's `VV` (a time zone by its name) cannot"),
        ("dd/MM/yyyy HH:mmX", "Java's `X` (an offset that may lack its minutes) cannot"),
        ("EEE dd/MM/yyyy", "Java's `EEE` cannot"),
        (
            "dd/MM/yyyy[ HH:mm]",
            "Java's optional sections cannot be carried over; write the time in one way only",
        ),
        ("dd/MM/yyyy 'T", "not a pattern of Java's: `'` stands alone; put text in '…'"),
        ("dd/MM", "`%Y` is missing; "),
    ],
)
def test_not_from_java(pattern, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        from_java(pattern)


@pytest.mark.parametrize("format", [*FORMATS[:4], "%Y-%m-%dT%H:%M:%S.%f%z", "100%% it's %d#%m%Y"])
def test_there_and_back(format):
    assert from_java(to_java(TimeFormat.parse(format))) == format


def test_to_java():
    assert to_java(TimeFormat.parse("%Y-%m-%dT%H:%M:%S.%f%z")) == "yyyy-M-d'T'H:m:s.SSSXXX"
    assert to_java(TimeFormat.parse("%Y%m%d %H")) == "yyyyMMdd H"
    with pytest.raises(ValueError, match="Java's patterns have no `epoch_s`; "):
        to_java(TimeFormat.parse("epoch_s"))
