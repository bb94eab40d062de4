"""Records, consents and entries to store."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

from pii_pipeline.vault.model import Consent, RecordKey, SealedRecord
from pii_pipeline.vault.stores import Entry

DAY = date(2026, 11, 26)
NOW = datetime(2026, 11, 26, 10, 31, 5, 123456, tzinfo=UTC)


def days_after(number: int) -> date:
    return DAY + timedelta(days=number)


def subject(number: int) -> bytes:
    """The ref of a data subject."""
    return hashlib.sha256(b"subject %d" % number).digest()[:16]


def mark(number: int) -> bytes:
    """A blind index."""
    return hashlib.sha256(b"mark %d" % number).digest()


def key(number: int, stream: str = "logins", field: str = "ip") -> RecordKey:
    return RecordKey(stream, field, hashlib.sha256(b"%d" % number).hexdigest())


def record(
    number: int, of: RecordKey | None = None, sealed: bytes = b"", about: int | None = None
) -> SealedRecord:
    """The record of that number: key, sealed original and data subject are its own unless they are given."""
    return SealedRecord(
        key(number) if of is None else of,
        subject(number if about is None else about),
        sealed or b"\x01" + hashlib.sha512(b"sealed %d" % number).digest(),
        b"",
        DAY,
        DAY,
    )


def unbound(number: int, of: RecordKey | None = None) -> SealedRecord:
    """One that names no data subject, but has a mark."""
    return replace(record(number, of), subject=b"", mark=mark(number))


def seen(that: SealedRecord, first: int, last: int) -> SealedRecord:
    """The same record, seen from the `first` day after `DAY` to the `last`."""
    return replace(that, first_seen=days_after(first), last_seen=days_after(last))


def consent(
    number: int, *levels: int, after: float = 0, stream: str = "logins", cumulative: bool = False
) -> Consent:
    """What somebody consented to, `after` seconds."""
    at = NOW + timedelta(seconds=after)
    return Consent(subject(number), stream, frozenset(levels), cumulative, at, mark(number))


def entry(sequence: int, said: str = "") -> Entry:
    text = json.dumps({"n": sequence, "said": said}, ensure_ascii=False)
    return Entry(sequence, text, hashlib.sha256(text.encode()).digest(), mark(sequence))


def entries(first: int, last: int) -> list[Entry]:
    return [entry(number) for number in range(first, last + 1)]
