"""Aggregates as Amazon's Kinesis Producer Library writes them, put together byte by byte.

https://github.com/awslabs/amazon-kinesis-producer/blob/master/aggregation-format.md and, for the bytes of its
message, https://protobuf.dev/programming-guides/encoding/. The product's stubs have no part in it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

MAGIC = bytes.fromhex("F3899AC2")


def aggregate(records: Sequence[bytes], keys: Sequence[str] = ("key",), tagged: bool = False) -> bytes:
    """One record of Kinesis. Each record in it names the next of the partition keys, which are in a table;
    `tagged`: with explicit hash keys and tags, which nobody has to give."""
    tables = b"".join(_bytes(1, key.encode()) for key in keys)
    if tagged:
        tables += _bytes(2, b"340282366920938463463374607431768211455")
    message = tables + b"".join(
        _bytes(3, _record(number % len(keys), record, tagged)) for number, record in enumerate(records)
    )
    return sealed(message)


def sealed(message: bytes) -> bytes:
    """What is around a message."""
    return MAGIC + message + hashlib.md5(message).digest()


def _record(key: int, data: bytes, tagged: bool) -> bytes:
    hash_key = _number(2, 0) if tagged else b""
    tags = _bytes(4, _bytes(1, b"name") + _bytes(2, b"value")) if tagged else b""
    return _number(1, key) + hash_key + _bytes(3, data) + tags


def _bytes(field: int, value: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(value)) + value


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _varint(value: int) -> bytes:
    """Seven bits a byte, the lowest first; all but the last have the highest bit."""
    low, rest = value & 0x7F, value >> 7
    return bytes([low | 0x80]) + _varint(rest) if rest else bytes([low])
