"""Messages of a queue as lines of a landing object: bodies as they were sent, and what is known of each.

An object of messages is told by its name, which ends in `MESSAGES_SUFFIX` before that of its compression.
A line is a JSON object (its envelope):

``message_id``
    by which the queue tells messages; the same each time one is delivered
``sent_at``
    when the queue got it: RFC 3339, UTC, milliseconds
``attributes``, ``message_attributes``
    what the queue, and the sender, say of it
``body``
    the text that was sent

The record is the body alone. A line that is no envelope is a record itself: it is judged like all others.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import orjson
import pyarrow as pa

from pii_pipeline.formats.kinds import DelimitedText, Format, JsonText
from pii_pipeline.formats.records import RecordChunk

MESSAGES_SUFFIX = ".sqs.jsonl"
MAX_LINE_BYTES = 16 << 20
"""A message has at most 1 MiB, of which JSON makes no more than six times as much."""

_COMPRESSIONS = (".gz", ".zst", ".zstd")


@dataclass(frozen=True, slots=True, repr=False)
class Message:
    """A message with what its queue says of it. `attributes` are the queue's, `message_attributes` the
    sender's; binary values among these are base64."""

    id: str
    sent_at: datetime
    attributes: Mapping[str, str]
    message_attributes: Mapping[str, Mapping[str, str]]
    body: str


def is_of_messages(name: str) -> bool:
    """Whether an object of this name is one of messages."""
    name = name.lower()
    for ending in _COMPRESSIONS:
        name = name.removesuffix(ending)
    return name.endswith(MESSAGES_SUFFIX)


def fits_a_message(format: Format) -> bool:
    """Whether a record of this format can be a message of its own, with nothing before it."""
    return isinstance(format, JsonText) or (isinstance(format, DelimitedText) and format.columns is not None)


def message_line(message: Message) -> bytes:
    """The envelope of a message, with the end of its line. Any text is kept, also one that is no Unicode."""
    sent = message.sent_at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    envelope: dict[str, Any] = {
        "message_id": message.id,
        "sent_at": sent,
        "attributes": message.attributes,
        "message_attributes": message.message_attributes,
        "body": message.body,
    }
    try:
        return orjson.dumps(envelope, option=orjson.OPT_APPEND_NEWLINE)
    except orjson.JSONEncodeError:  # halves of surrogate pairs, which are escaped instead
        return json.dumps(envelope, separators=(",", ":")).encode() + b"\n"


def message_records(
    lines: Iterator[RecordChunk], format: Format, max_record_bytes: int
) -> Iterator[RecordChunk]:
    """The bodies in `lines`, with their message ids; numbers and offsets are those of the lines.

    Where the format is delimited text, the end of a line at a body's end is no part of the record. Raises
    what `lines` raises.
    """
    columns = format.columns if isinstance(format, DelimitedText) else None
    for chunk in lines:
        opened = [_opened(line) for line in chunk.records.to_pylist()]
        bodies = [body for _, body in opened]
        if columns is not None:
            bodies = [body.removesuffix(b"\n").removesuffix(b"\r") for body in bodies]
        sizes = np.array([len(body) for body in bodies], np.int64)
        yield replace(
            chunk,
            records=pa.array([body[:max_record_bytes] for body in bodies], pa.large_binary()),
            too_large=chunk.too_large | (sizes > max_record_bytes),
            names=columns or (),
            message_ids=pa.array([message_id for message_id, _ in opened], pa.string()),
        )


def _opened(line: bytes) -> tuple[str | None, bytes]:
    """Message id and body; a line that is no envelope is a body without an id."""
    try:
        envelope = orjson.loads(line)
    except orjson.JSONDecodeError:
        try:
            envelope = json.loads(line)  # knows halves of surrogate pairs
        except (ValueError, RecursionError):
            return None, line
    if isinstance(envelope, dict):
        message_id, body = envelope.get("message_id"), envelope.get("body")
        if isinstance(message_id, str) and isinstance(body, str) and message_id.isascii():
            return message_id, body.encode("utf-8", "surrogatepass")
    return None, line
