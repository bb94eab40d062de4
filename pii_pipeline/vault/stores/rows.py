"""What is alike in all stores: which records are one, which consent holds, and how a level is written."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from pii_pipeline.vault.model import Consent, SealedRecord

Identity = tuple[str, str, bytes, bytes, bytes]
"""Stream, field, pseudonym, data subject and digest of the sealed original: records in which these are equal
are one."""

_EPOCH = datetime(1, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_HIGHEST = 2**63 - 1


def digest(sealed: bytes) -> bytes:
    """16 bytes that stand for a sealed original in keys, for which it may be too long."""
    return hashlib.sha256(sealed).digest()[:16]


def encoded(*parts: bytes) -> bytes:
    """Each part behind its length: injective."""
    return b"".join([len(part).to_bytes(4, "big") + part for part in parts])


def decoded(data: bytes) -> list[bytes]:
    """The parts that `encoded` put together."""
    parts, at = [], 0
    while at < len(data):
        start = at + 4
        at = start + int.from_bytes(data[at:start], "big")
        parts.append(data[start:at])
    return parts


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


def oldest_first(records: Sequence[SealedRecord]) -> list[SealedRecord]:
    """By first day, then sealed original."""
    return sorted(records, key=lambda record: (record.first_seen, record.sealed))
