"""The quarantine: one row per record that was set aside, its reason in clear, itself sealed.

The row holds nothing the producer wrote: failure type, the schema's path of the field, rule and message name
places and rules. The record is AES-SIV ciphertext under the quarantine key of its stream and arrival day,
bound to where it was found.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pyarrow as pa

BAD_EVENTS = "bad_events"

SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("stream", pa.string(), nullable=False),
        pa.field("contract", pa.string(), nullable=False),
        pa.field("failure_type", pa.string(), nullable=False),
        pa.field("field", pa.string()),
        pa.field("rule", pa.string()),
        pa.field("message", pa.string(), nullable=False),
        pa.field("arrival_time", pa.timestamp("us", "UTC"), nullable=False),
        pa.field("landing_object", pa.string(), nullable=False),
        pa.field("record_number", pa.int64()),
        pa.field("byte_offset", pa.int64()),
        pa.field("sealed_record", pa.string()),
        pa.field("subject_tag", pa.string()),
    ]
)


@dataclass(frozen=True, slots=True)
class BadRecord:
    """One rejected record (or, without `number`, a whole object) of object number `object` of its batch, and
    the contract that it was judged by."""

    contract: str
    object: int
    number: int | None
    offset: int | None
    type: str
    path: str | None
    rule: str | None
    message: str
    record: bytes | None
    subject: str | None


def location(uri: str, etag: str, number: int | None) -> bytes:
    """What a sealed record is bound to, and its id is made of."""
    return f"{uri}\0{etag}\0{'' if number is None else number}".encode()


def bad_event_rows(
    bad: Sequence[BadRecord],
    stream: str,
    objects: Sequence[tuple[str, str, object]],
    seal: Callable[[bytes, bytes], bytes],
    tag: Callable[[str], bytes],
) -> pa.Table:
    """Rows of `SCHEMA` for `bad`.

    `objects[i]` is (uri, etag, arrival) of object i; `seal(record, location)` encrypts; `tag(subject)` is
    the tag of a data subject's canonical id.
    """
    rows = []
    for item in bad:
        uri, etag, arrival = objects[item.object]
        where = location(uri, etag, item.number)
        sealed = None if item.record is None else base64.b64encode(seal(item.record, where)).decode()
        rows.append(
            {
                "id": hashlib.sha256(where).hexdigest()[:32],
                "stream": stream,
                "contract": item.contract,
                "failure_type": item.type,
                "field": item.path,
                "rule": item.rule,
                "message": item.message,
                "arrival_time": arrival,
                "landing_object": uri,
                "record_number": item.number,
                "byte_offset": item.offset,
                "sealed_record": sealed,
                "subject_tag": None if item.subject is None else tag(item.subject).hex(),
            }
        )
    return pa.Table.from_pylist(rows, SCHEMA)
