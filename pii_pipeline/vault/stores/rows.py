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
from threading import Lock
from typing import TypeVar

from pii_pipeline.vault.errors import TamperedRow, VaultRefused
from pii_pipeline.vault.model import MAX_READ_BYTES, Consent, RecordKey, SealedRecord
from pii_pipeline.vault.stores.interface import Entry

T = TypeVar("T")

Identity = tuple[str, str, bytes, bytes, bytes]
"""Stream, field, pseudonym, data subject and digest of the sealed original: records in which these are equal
are one."""

_EPOCH = datetime(1, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_HIGHEST = 2**63 - 1
_NO_NUMBER = 0
_BOOLEANS = {"1": True, "true": True, "0": False, "false": False}
"""As SQLite and PostgreSQL write them."""
_BESIDE = 256
"""Bytes that a record counts beside its sealed original, so that as many short ones as a read may load take
no more memory than long ones do: they are some 100,000, such as of people who share an address."""


class Room:
    """What a read may still load, in bytes of sealed originals, and some for each; for several threads."""

    def __init__(self) -> None:
        self._left = MAX_READ_BYTES
        self._taking = Lock()

    def take(self, sealed: bytes) -> None:
        """Raises `VaultRefused` where it is not there any more."""
        with self._taking:
            self._left -= len(sealed) + _BESIDE
            if self._left < 0:
                raise VaultRefused(
                    "limit",
                    f"what these pseudonyms stand for is more than {MAX_READ_BYTES >> 20} MiB: ask for fewer "
                    "at once; a single one that has so much cannot be told, unless some of it is erased",
                )


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


def consent_of(
    subject: bytes, stream: str, levels: object, cumulative: object, at: object, rank_: object, seal: object
) -> Consent:
    """Of a row's columns, all but rank and seal as text; what no vault wrote has no seal. A rank is none that
    is not the consent's: a higher one would keep later consents from coming in its place."""
    try:
        said = levels_of(_text(levels))
        consent = Consent(subject, stream, said, _BOOLEANS[_text(cumulative)], _moment(at), _bytes(seal))
        if _bytes(rank_) == rank(consent):
            return consent
    except (ValueError, KeyError, struct.error):  # which `rank` raises for what is no level
        pass
    return Consent(subject, stream, frozenset(), False, _EPOCH)


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
