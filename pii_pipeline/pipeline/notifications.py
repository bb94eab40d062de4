"""S3's event notifications: what they say was created, entered into the ledger.

They come through an SQS queue, as S3 itself sends them, through SNS, or through EventBridge. Formats:
"Event message structure" and "Using EventBridge" in the Amazon S3 user guide.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import unquote_plus

from pii_pipeline.lake import ObjectInfo, path_of_key
from pii_pipeline.pipeline.arrivals import enter
from pii_pipeline.pipeline.installation import Installation
from pii_pipeline.pipeline.receiving import CALLERS, delete_all, gather
from pii_pipeline.queues import Queue, open_queue

_VISIBILITY_SECONDS = 60
_LONG_POLL_SECONDS = 1
_MESSAGES_AT_ONCE = 1_000
_BYTES_AT_ONCE = 16 << 20
_MOST_BYTES = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Told:
    """`messages` were read, `new` objects entered; `foreign` messages are no notifications of S3, and stay in
    the queue until its redrive policy takes them."""

    messages: int
    new: int
    foreign: int


def open_notifications(place: str, seconds: float | None = None) -> Queue:
    """The queue of that name, or at that URL, for so many `seconds` of calls. Raises `QueueError`."""
    return open_queue(place, CALLERS, _LONG_POLL_SECONDS, seconds)


def enter_told(installation: Installation, queue: Queue, seconds: float) -> Told:
    """Enters what the queue's notifications tell of, for about `seconds` or until there are none.

    A message is deleted when its objects are in the ledger; of one that comes twice the second does nothing.
    """
    until = time.monotonic() + seconds
    messages = new = foreign = 0
    while time.monotonic() < until:
        batch = gather(
            queue, _MESSAGES_AT_ONCE, _BYTES_AT_ONCE, until, _LONG_POLL_SECONDS, _VISIBILITY_SECONDS
        )
        told = [created(message.body) for message in batch.messages]
        messages += len(told)
        foreign += told.count(None)
        new += _enter(installation, [item for found in told for item in found or ()])
        ours = [message for message, found in zip(batch.messages, told, strict=True) if found is not None]
        delete_all(queue, ours)
        if batch.error:
            raise batch.error
        if batch.emptied:
            break
    return Told(messages, new, foreign)


@dataclass(frozen=True, slots=True)
class Created:
    """An object that was created: where, its `size` in bytes, its ETag without quotes, and when."""

    uri: str
    size: int
    etag: str
    at: datetime


def created(body: str) -> list[Created] | None:
    """What a message tells of, which may be nothing that was created. None if it is no notification of S3."""
    try:
        said = json.loads(body)
        if isinstance(said.get("Message"), str):  # SNS has put it into an envelope
            said = json.loads(said["Message"])
        if said.get("source") == "aws.s3":
            return [_of_event_bridge(said)] if said["detail-type"] == "Object Created" else []
        if said.get("Event") == "s3:TestEvent":
            return []
        records = [item for item in said["Records"] if item["eventName"].startswith("ObjectCreated:")]
        return [_of_record(item) for item in records]
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None


def _of_record(item: Mapping[str, Any]) -> Created:
    made = item["s3"]["object"]
    key = unquote_plus(made["key"], errors="strict")
    return _created(item["s3"]["bucket"]["name"], key, made["size"], made["eTag"], item["eventTime"])


def _of_event_bridge(said: Mapping[str, Any]) -> Created:
    made = said["detail"]["object"]
    return _created(said["detail"]["bucket"]["name"], made["key"], made["size"], made["etag"], said["time"])


def _created(bucket: str, key: str, size: int, etag: str, moment: str) -> Created:
    """Raises ValueError for what S3 never says: what no database takes would be in the way of all others."""
    at = datetime.fromisoformat(moment)
    texts = isinstance(bucket, str) and isinstance(key, str) and isinstance(etag, str)
    if not texts or not isinstance(size, int) or not 0 <= size <= _MOST_BYTES or at.tzinfo is None:
        raise ValueError("no object")
    if "\0" in etag:
        raise ValueError("no text")
    (key + etag).encode()  # half of a surrogate pair is none either
    return Created(f"s3://{bucket}/{path_of_key(key)}", size, etag, at)


def _enter(installation: Installation, found: Sequence[Created]) -> int:
    """Enters what lies in a stream's part of the landing zone; gives how many of them were new."""
    root = f"{installation.zones.landing.uri}/"
    streams: dict[str, list[ObjectInfo]] = {}
    for item in found:
        if not item.uri.startswith(root):
            continue
        path = item.uri.removeprefix(root)
        stream, _, inside = path.partition("/")
        info = ObjectInfo(path.rpartition("/")[2], path, item.uri, item.size, item.at, item.etag)
        marks_folder = not info.size and not info.name
        if inside and not marks_folder and not info.hidden:
            streams.setdefault(stream, []).append(info)
    known = installation.streams
    return sum(enter(installation, known[name], infos) for name, infos in streams.items() if name in known)
