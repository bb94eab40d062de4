"""Avro object container files, written by fastavro or by hand, and what is read of them."""

from __future__ import annotations

import io
import json
from typing import Any

import fastavro

from pii_pipeline.formats import AvroContainer, ObjectFault, read_records
from pii_pipeline_tests.unit.formats.reference import Cut

SYNC = b"0123456789abcdef"


def read(
    raw: bytes, name: str = "a.avro", max_record_bytes: int = 10_000, block_size: int = 64
) -> tuple[list[Cut], tuple[str, str] | None]:
    cuts: list[Cut] = []
    try:
        for chunk in read_records(
            io.BytesIO(raw), name, max_record_bytes, AvroContainer(), block_size=block_size
        ):
            assert chunk.names == ()
            assert chunk.number.tolist() == list(range(len(cuts), len(cuts) + len(chunk)))
            cuts.extend(
                Cut(record, int(offset), bool(large))
                for record, offset, large in zip(
                    chunk.records.to_pylist(), chunk.offset, chunk.too_large, strict=True
                )
            )
    except ObjectFault as error:
        assert "secret" not in error.message
        return cuts, (error.type, error.message)
    return cuts, None


def written(schema: Any, records: list[Any], codec: str = "null", interval: int = 16_000) -> bytes:
    out = io.BytesIO()
    fastavro.writer(out, schema, records, codec=codec, sync_interval=interval, sync_marker=SYNC)
    return out.getvalue()


def long(number: int) -> bytes:
    bits = number << 1 ^ number >> 63
    out = b""
    while bits > 0x7F:
        out += bytes([bits & 0x7F | 0x80])
        bits >>= 7
    return out + bytes([bits])


def container(schema: Any, *blocks: tuple[int, bytes], codec: bytes = b"null") -> bytes:
    """A file by hand: blocks of a number of records and their bytes."""
    text = schema if isinstance(schema, bytes) else json.dumps(schema).encode()
    metadata = {b"avro.schema": text, b"avro.codec": codec}
    head = b"Obj\x01" + long(len(metadata))
    for key, value in metadata.items():
        head += long(len(key)) + key + long(len(value)) + value
    body = b"".join(long(count) + long(len(data)) + data + SYNC for count, data in blocks)
    return head + b"\0" + SYNC + body


def record(*types: Any) -> dict[str, Any]:
    return {
        "type": "record",
        "name": "Event",
        "fields": [{"name": f"f{number}", "type": type} for number, type in enumerate(types)],
    }
