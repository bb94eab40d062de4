"""The AWS Lambda for an event source of Kinesis with ``ReportBatchItemFailures``: ``relay.handler.handler``.

Lambda takes the lowest sequence number that is reported for the place to go on from: that record and all
behind it come again. So one number is reported, that of the first record which is neither relayed nor in
quarantine. Since what is kept already is kept once, it does no harm that others come with it.

Nothing in a record makes it fail. What is missing in the environment does: then the whole batch comes again.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Protocol

from pii_pipeline.relay.aggregates import user_records
from pii_pipeline.relay.piinguin import Piinguin, Sent
from pii_pipeline.relay.quarantine import Quarantine, open_quarantine
from pii_pipeline.relay.settings import read_relay_settings
from pii_pipeline.relay.transformations import Replaced, Unreadable, read_line

_RESERVED_SECONDS = 2.0
"""Of the Lambda's time, to say in what came of the batch."""

_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")


class Context(Protocol):
    """What Lambda tells of an invocation."""

    def get_remaining_time_in_millis(self) -> int:
        """Until it is ended."""
        ...


class NotKinesis(Exception):
    """What the handler was called with is no batch of Kinesis."""


@dataclass(frozen=True, slots=True)
class Record:
    """A record of the batch. `place`: stream, shard and sequence number as a path. `replaced`: what its
    events say was replaced, None if they are other ones; `reason`: why it cannot be read, or the first of
    them that cannot. `events`: how many are in it, 0 where nobody knows."""

    sequence: str
    place: str
    data: bytes = field(repr=False)
    replaced: list[Replaced] | None = field(default=None, repr=False)
    reason: str | None = None
    events: int = 0


class Relay:
    """A vault to relay to and, if there is one, a quarantine."""

    def __init__(self, piinguin: Piinguin, quarantine: Quarantine | None) -> None:
        self._piinguin = piinguin
        self._quarantine = quarantine

    @classmethod
    def from_environment(cls) -> Relay:
        """Raises `RelaySettingError` and `VaultSettingError`."""
        settings = read_relay_settings()
        quarantine = open_quarantine(settings.quarantine) if settings.quarantine else None
        return cls(Piinguin(settings.connection, settings.tls, settings.seconds), quarantine)

    def relay(self, records: Sequence[Record], context: Context) -> tuple[str | None, dict[str, Any]]:
        """The sequence number of the first record that failed, None if none did, and what came of all."""
        until = time.monotonic() + context.get_remaining_time_in_millis() / 1000 - _RESERVED_SECONDS
        in_quarantine = [record.reason is None or self._put(record, until) for record in records]
        replaced = [item for record in records for item in record.replaced or ()]
        sent = self._piinguin.create(replaced, until) if replaced else Sent(0)
        done: list[bool] = []
        needed = 0
        for record, kept in zip(records, in_quarantine, strict=True):
            needed += len(record.replaced or ())
            done.append(kept and (not record.replaced or needed <= sent.kept))
        first = next((record.sequence for record, one in zip(records, done, strict=True) if not one), None)
        return first, _counts(records, done, sent)

    def _put(self, record: Record, until: float) -> bool:
        name = f"{record.reason}/{record.place}"
        return self._quarantine is not None and self._quarantine.put(name, record.data, until)


_relay: Relay | None = None


def handler(event: Mapping[str, Any], context: Context) -> dict[str, Any]:
    """Relays the records of a batch; the first that has to come again, if any. Logs counts, in one line."""
    global _relay  # it outlives the invocation, and its connection with it
    if _relay is None:
        _relay = Relay.from_environment()
    first, counts = _relay.relay(read_records(event), context)
    sys.stdout.write(json.dumps(counts) + "\n")
    sys.stdout.flush()
    return {"batchItemFailures": [] if first is None else [{"itemIdentifier": first}]}


def read_records(event: Mapping[str, Any]) -> list[Record]:
    """Those of a batch, in their order. Raises `NotKinesis`."""
    try:
        found = [
            (
                item["kinesis"]["sequenceNumber"],
                item["kinesis"]["data"],
                item["eventSourceARN"],
                item["eventID"],
            )
            for item in event["Records"]
        ]
    except (KeyError, TypeError):
        found = None
    if found is None or not all(
        isinstance(part, str) and part for item in found for part in (item[0], *item[2:])
    ):
        raise NotKinesis("not an event of Kinesis — make a Kinesis stream the function's event source")
    return [_record(*item) for item in found]


def _record(sequence: str, data: Any, source: str, event_id: str) -> Record:
    parts = (source.rpartition("/")[2], event_id.partition(":")[0], sequence)
    place = "/".join(_UNSAFE.sub("_", part).lstrip(".") or "_" for part in parts)
    try:
        raw = base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError, TypeError):
        return Record(sequence, place, str(data).encode(errors="replace"), reason="not_base64")
    try:
        lines = user_records(raw)
    except Unreadable as unreadable:
        return Record(sequence, place, raw, reason=unreadable.reason)
    replaced, reason = _read(lines)
    return Record(sequence, place, raw, replaced, reason, len(lines))


def _read(lines: Sequence[bytes]) -> tuple[list[Replaced] | None, str | None]:
    """What events say was replaced, None if none that can be read does; why the first one that cannot be
    read cannot."""
    found: list[list[Replaced]] = []
    reasons: list[str] = []
    for line in lines:
        try:
            replaced = read_line(line)
        except Unreadable as unreadable:
            reasons.append(unreadable.reason)
        else:
            if replaced is not None:
                found.append(replaced)
    return list(chain.from_iterable(found)) if found else None, next(iter(reasons), None)


def _counts(records: Sequence[Record], done: Sequence[bool], sent: Sent) -> dict[str, Any]:
    """Each record has one fate: relayed, other, quarantined or failed. `events` are in them; `unreadable` are
    records that are in quarantine or should be; `originals` those that are kept."""
    reasons = Counter(
        record.reason for record, one in zip(records, done, strict=True) if one and record.reason is not None
    )
    read = [(record, one) for record, one in zip(records, done, strict=True) if record.reason is None]
    return {
        "records": len(records),
        "events": sum(record.events for record in records),
        "relayed": sum(one and record.replaced is not None for record, one in read),
        "other": sum(record.replaced is None for record, _ in read),
        "quarantined": dict(sorted(reasons.items())),
        "failed": done.count(False),
        "unreadable": sum(record.reason is not None for record in records),
        "originals": sent.kept,
        "problem": sent.problem,
    }
