"""What the vault keeps and is asked for."""

from __future__ import annotations

import re
from dataclasses import dataclass
from dataclasses import field as attribute
from datetime import date, datetime
from enum import StrEnum

PIINGUIN_STREAM = "piinguin"
"""Reserved for what comes over Piinguin's wire, which names neither stream nor field."""
PIINGUIN_FIELD = "value"
PIINGUIN_PURPOSE = "piinguin"
"""What a read over that wire, which names no purpose, is recorded with."""
VERIFICATION = "verification"
"""The purpose of the main job, which looks whether what it loaded can be told again."""

MAX_ORIGINAL_BYTES = 65_536
"""Of an original as UTF-8."""
MAX_SEALED_BYTES = 1 + 16 + MAX_ORIGINAL_BYTES
"""Of a sealed one: a version, the SIV, and as many bytes. What is longer, no vault wrote."""
MAX_ORIGINALS = 256
"""Of one pseudonym, of what callers create: as a rule there is one, and a few where values come out alike.
Two who create at once may exceed it a little. What the main job loads is all kept, whatever there is."""
MAX_READ_BYTES = 2 * MAX_ORIGINALS * MAX_ORIGINAL_BYTES
"""Of sealed originals that one read loads (32 MiB): twice what callers may create of a pseudonym, so that
they cannot fill one until nobody can read it."""
MAX_PSEUDONYM_BYTES = 1_024
"""Of what comes over Piinguin's wire; it is part of a key in every store."""

STREAM = re.compile(r"[a-z][a-z0-9_]{0,254}")
FIELD = re.compile(r"[^\x00-\x1f\x7f-\x9f\ud800-\udfff]{1,255}")
"""A field's path in a contract: names of all sorts, and inside documents ``contexts iglu:… user/email``."""
PSEUDONYM = re.compile(r"[0-9a-f]{32,128}")
"""Hexadecimal digits of a hash or HMAC: what our contracts make. On `PIINGUIN_STREAM` it may be anything."""


class LawfulBasis(StrEnum):
    """Article 6(1) of the GDPR, (a) to (f)."""

    CONSENT = "consent"
    CONTRACT = "contract"
    LEGAL_OBLIGATION = "legal_obligation"
    VITAL_INTERESTS = "vital_interests"
    PUBLIC_TASK = "public_task"
    LEGITIMATE_INTERESTS = "legitimate_interests"


@dataclass(frozen=True, slots=True)
class Reason:
    """Why somebody reads: a basis, a purpose's code from the policy, perhaps a ticket. Never free text."""

    basis: LawfulBasis | None
    purpose: str
    ticket: str | None = None


@dataclass(frozen=True, slots=True, order=True)
class RecordKey:
    """By what an original is found: the field (path in the contract) of a stream, and a pseudonym in it."""

    stream: str
    field: str
    pseudonym: str = attribute(repr=False)  # over Piinguin's wire it may be anything


@dataclass(frozen=True, slots=True)
class DataSubject:
    """A person as callers know one: by an id, and the namespace (of a contract's data subject) it is of."""

    namespace: str
    id: str = attribute(repr=False)


@dataclass(frozen=True, slots=True)
class Record:
    """An original to be kept, as callers name it; `subject`: whom it is about, where that is known."""

    key: RecordKey
    original: str = attribute(repr=False)
    subject: DataSubject | None = None


@dataclass(frozen=True, slots=True)
class NewRecord:
    """The same as the vault takes it. `subject`: the ref (16 bytes) of whom it is about, where that is known.

    `seen`: the day (UTC) of the event that it was in.
    """

    key: RecordKey
    original: str = attribute(repr=False)
    seen: date
    subject: bytes | None = attribute(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class SealedRecord:
    """A record as it is stored.

    sealed: AES-256-SIV of the original (UTF-8), bound to key and subject; equal records are sealed alike
    subject: 16 bytes, or empty where nobody is named
    mark: 32 bytes, the blind index by which records of an original are found; empty where `subject` is not
    """

    key: RecordKey
    subject: bytes
    sealed: bytes = attribute(repr=False)
    mark: bytes = attribute(repr=False)
    first_seen: date
    last_seen: date


@dataclass(frozen=True, slots=True)
class Consent:
    """What a data subject consented to last in a stream: levels, at the time of the event that said so.

    `cumulative`: a level covers those below it; otherwise each is a purpose of its own. `seal`: 32 bytes over
    all the rest, without which a stored consent counts as none; empty before it is stored.
    """

    subject: bytes = attribute(repr=False)
    stream: str
    levels: frozenset[int]
    cumulative: bool
    at: datetime
    seal: bytes = attribute(default=b"", repr=False)

    def covers(self, wanted: frozenset[int]) -> bool:
        """Whether it covers all `wanted` levels. No consent covers nothing, and nothing wanted is no wish."""
        if not wanted:
            return False
        if self.cumulative:
            return max(self.levels, default=-1) >= max(wanted)
        return wanted <= self.levels


class Withheld(StrEnum):
    """Why an original of a pseudonym that is in the vault is not told."""

    NO_CONSENT = "no consent"
    FORGOTTEN = "forgotten"
    TAMPERED = "tampered"  # its record was altered in the store, or moved to another row


@dataclass(frozen=True, slots=True)
class Found:
    """All originals of a pseudonym, oldest first; none and not `withheld`: the vault does not know it.

    `withheld`: why none is told, but for TAMPERED, which is said as soon as one of its records was, beside
    the originals of the others.
    """

    key: RecordKey
    originals: tuple[str, ...] = attribute(default=(), repr=False)
    withheld: Withheld | None = None


@dataclass(frozen=True, slots=True)
class Stored:
    """What came of records that were put: `new` ones, and those that were there (`known`)."""

    new: int
    known: int
