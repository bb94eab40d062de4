"""What is alike in all stores: which records are one, which consent holds, how a level is written, and what
becomes of a row that no vault wrote.

Who can write the database can put anything into it: SQLite takes values of any type in any column, DynamoDB
any attributes. Such a row stops no reading of others. It comes back as what does not open and has no seal, so
that whoever looks finds it.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import TypeVar

from pii_pipeline.vault.errors import TamperedRow
from pii_pipeline.vault.model import Consent, RecordKey, SealedRecord
from pii_pipeline.vault.stores.interface import Entry

T = TypeVar("T")

Identity = tuple[str, str, bytes, bytes, bytes]
"""Stream, field, pseudonym, data subject and digest of the sealed original: records in which these are equal
are one."""

_EPOCH = datetime(1, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_HIGHEST = 2**63 - 1
_NO_NUMBER = 0


def digest(sealed: bytes) -> bytes:
    """16 bytes that stand for a sealed original in keys, for which it may be too long."""
    return hashlib.sha256(sealed).digest()[:16]


def encoded(*parts: bytes) -> bytes:
    """Each part behind its length: injective."""
    return b"".join([len(part).to_bytes(4, "big") + part for part in parts])


def merged(records: Iterable[SealedRecord]) -> dict[Identity, SealedRecord]:
    """Each record once, with the days of all that are the same; in the order of their identities, so that
    of two who put the same ones at once, one waits for the other and neither for ever."""
    single: dict[Identity, SealedRecord] = {}
    for record in records:
        key = record.key
        identity = key.stream, key.field, key.pseudonym.encode(), record.subject, digest(record.sealed)
        there = single.setdefault(identity, record)
        if there is not record:
            first, last = min(there.first_seen, record.first_seen), max(there.last_seen, record.last_seen)
            single[identity] = replace(there, first_seen=first, last_seen=last)
    return dict(sorted(single.items()))


def rank(consent: Consent) -> bytes:
    """Of two consents of one subject and stream the one with the higher rank holds, compared as bytes."""
    microseconds = (consent.at.astimezone(UTC) - _EPOCH) // _MICROSECOND
    parts = [_HIGHEST - number for number in (len(consent.levels), *sorted(consent.levels))]
    return struct.pack(f">{1 + len(parts)}Q?", microseconds, *parts, not consent.cumulative)


def latest(consents: Iterable[Consent]) -> list[Consent]:
    """Of each subject and stream the consent that holds, in their order."""
    single: dict[tuple[bytes, str], Consent] = {}
    for consent in consents:
        there = single.setdefault((consent.subject, consent.stream), consent)
        if rank(consent) > rank(there):
            single[consent.subject, consent.stream] = consent
    return [single[of] for of in sorted(single)]


def levels_text(levels: Iterable[int]) -> str:
    """``"1,3"``."""
    return ",".join(map(str, sorted(levels)))


def levels_of(text: str) -> frozenset[int]:
    """The levels that `levels_text` wrote."""
    return frozenset(map(int, filter(None, text.split(","))))


def record_of(
    key: RecordKey, subject: object, sealed: object, mark: object, first_seen: object, last_seen: object
) -> SealedRecord:
    """Of a row's columns, days as ISO text; what no vault wrote has nothing sealed."""
    try:
        days = date.fromisoformat(_text(first_seen)), date.fromisoformat(_text(last_seen))
        return SealedRecord(key, _bytes(subject), _bytes(sealed), _bytes(mark), *days)
    except ValueError:
        return SealedRecord(key, b"", b"", b"", date.min, date.min)


def entry_of(sequence: object, text: object, hash_: object, seal: object) -> Entry:
    """Of a row's columns, the number as text; each that no vault wrote is empty, or zero."""
    return Entry(
        _or(_NO_NUMBER, _sequence, sequence),
        _or("", _text, text),
        _or(b"", _bytes, hash_),
        _or(b"", _bytes, seal),
    )


def anchored_of(sequence: object, at: object) -> tuple[int, datetime]:
    """Of a row's columns, as text. Raises `TamperedRow`."""
    try:
        return _sequence(sequence), _moment(at)
    except ValueError:
        raise TamperedRow("what the vault's database says of the last anchor was altered") from None


def _bytes(value: object) -> bytes:
    """Raises `ValueError` for what is of another type, as the next ones do."""
    if isinstance(value, bytes):
        return value
    raise ValueError("no bytes")


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    return _bytes(value).decode()


def _sequence(value: object) -> int:
    """An entry's number, with one that can follow it."""
    number = int(_text(value))
    if not 0 < number < _HIGHEST:
        raise ValueError("no entry's number")
    return number


def _moment(value: object) -> datetime:
    moment = datetime.fromisoformat(_text(value))
    try:
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except OverflowError:  # before the year 1, or after 9999, in UTC
        raise ValueError("no moment") from None


def _or(nothing: T, convert: Callable[[object], T], value: object) -> T:
    try:
        return convert(value)
    except ValueError:
        return nothing


def oldest_first(records: Sequence[SealedRecord]) -> list[SealedRecord]:
    """By first day, then sealed original."""
    return sorted(records, key=lambda record: (record.first_seen, record.sealed))
