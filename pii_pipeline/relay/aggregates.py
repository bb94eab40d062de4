"""Records of Kinesis as Amazon's Kinesis Producer Library (KPL) writes them: many of its user's in one.

    F3 89 9A C2 | AggregatedRecord (kpl.proto) | MD5 of that

https://github.com/awslabs/amazon-kinesis-producer/blob/master/aggregation-format.md. No event in UTF-8 begins
with these four bytes, so what does is an aggregate, or a broken one. How much it can hold is bounded by the
6 MB that Lambda gives a function: what is worst, empty records, is read in some seconds.
"""

from __future__ import annotations

import hashlib

from google.protobuf.message import DecodeError

from pii_pipeline.relay.kpl_pb2 import AggregatedRecord
from pii_pipeline.relay.transformations import Unreadable

MAGIC = b"\xf3\x89\x9a\xc2"

_CHECKSUM_BYTES = 16


def user_records(data: bytes) -> list[bytes]:
    """The records in one of Kinesis, which is itself one where it is no aggregate. Raises `Unreadable`."""
    if not data.startswith(MAGIC):
        return [data]
    message, checksum = data[len(MAGIC) : -_CHECKSUM_BYTES], data[-_CHECKSUM_BYTES:]
    if hashlib.md5(message, usedforsecurity=False).digest() != checksum:
        raise Unreadable("bad_aggregate", "an aggregate whose checksum is of something else")
    try:
        aggregate = AggregatedRecord.FromString(message)
    except DecodeError:
        aggregate = None
    if aggregate is None or not aggregate.IsInitialized():
        raise Unreadable("bad_aggregate", "an aggregate that is no message of the KPL's")
    return [record.data for record in aggregate.records]
