"""Aggregates of the Kinesis Producer Library: taken apart, or refused as a whole."""

from __future__ import annotations

import hashlib

import pytest

from pii_pipeline.relay.aggregates import user_records
from pii_pipeline.relay.transformations import Unreadable
from pii_pipeline_tests.kpl import MAGIC, aggregate, sealed
from pii_pipeline_tests.pii_events import CANARY, other_event, pii_event

LINES = [pii_event(("m", CANARY)), other_event(), b"", b"x" * 200_000]


@pytest.mark.parametrize("line", [*LINES, MAGIC[:3], b"\xf3\x89\x9a\x82"])
def test_what_is_no_aggregate_is_one_record(line: bytes) -> None:
    assert user_records(line) == [line]


@pytest.mark.parametrize("lines", [LINES, LINES[:1], [], LINES * 500])
@pytest.mark.parametrize("tagged", [False, True])
def test_an_aggregate_is_the_records_in_it(lines: list[bytes], tagged: bool) -> None:
    assert user_records(aggregate(lines, ["a", "b", "ü"], tagged)) == lines


def test_the_bytes_of_an_aggregate() -> None:
    """By hand: a table of one partition key, and two records that name it."""
    message = b"\x0a\x01a" + b"\x1a\x05\x08\x00\x1a\x01x" + b"\x1a\x06\x08\x00\x1a\x02yz"
    assert aggregate([b"x", b"yz"], ["a"]) == sealed(message)
    assert user_records(MAGIC + message + hashlib.md5(message).digest()) == [b"x", b"yz"]


WHOLE = aggregate(LINES[:2])
BROKEN = {
    "nothing but the magic": MAGIC,
    "shorter than a checksum": MAGIC + b"\x00" * 15,
    "cut": WHOLE[:-1],
    "longer": WHOLE + b"\n",
    "a byte of the message": WHOLE[:20] + bytes([WHOLE[20] ^ 1]) + WHOLE[21:],
    "a byte of the checksum": WHOLE[:-1] + bytes([WHOLE[-1] ^ 1]),
    "no message": sealed(CANARY.encode()),
    "a record that is cut": sealed(b"\x1a\x7f\x08\x00"),
    "a record without data": sealed(b"\x1a\x02\x08\x00"),
    "data without a key": sealed(b"\x1a\x03\x1a\x01x"),
    "a group that never ends": sealed(b"\x23" * 1000),
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
def test_what_is_broken_is_refused_without_a_value(broken: bytes) -> None:
    with pytest.raises(Unreadable) as refused:
        user_records(broken)
    assert refused.value.reason == "bad_aggregate"
    assert refused.value.__context__ is None
    assert "planted" not in str(refused.value)
