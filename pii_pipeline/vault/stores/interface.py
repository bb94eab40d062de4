"""What the vault asks of a database: one narrow interface over SQLite, PostgreSQL and DynamoDB.

Stores know nothing of keys, policies or originals: what they are given is sealed. They are safe across
threads and processes, and raise `VaultUnavailable` when the database does not answer, after having waited
for it: a server that restarts, a service that is asked for too much at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple, Protocol

from pii_pipeline.vault.model import Consent, RecordKey, SealedRecord, Stored

SETTING = "PII_VAULT_URL"

MOST_ENTRIES = 99
"""The most entries of one `append`: what DynamoDB takes in a transaction."""


class Entry(NamedTuple):
    """One entry of the audit log as it is stored; what its parts are, `audit` says."""

    sequence: int
    text: str
    hash: bytes
    seal: bytes


class Allowance(NamedTuple):
    """At most `most` records for `principal` in the window of time named so, such as "2026-11-26T10:31"."""

    principal: str
    window: str
    most: int


class VaultStore(Protocol):
    """Records, consents, the audit log and what was spent of limits. One test suite holds for all of them.

    A row that no vault wrote fails no call that reads others as well: what comes of it, the methods say.

    Deletions may be made twice: of one whose answer was lost on the way, what it deleted is not counted. On
    DynamoDB two who delete the same at once may both count it, and what is found by data subject or mark is
    found moments after it was put.
    """

    def put(self, records: Sequence[SealedRecord]) -> Stored:
        """Enters records, durably. One that is there (same key, subject and sealed original) gets the earlier
        first and the later last day of both; others of the same key stay beside it. May be called twice; of
        a call whose answer was lost on the way, what it put counts as known."""
        ...

    def find(self, keys: Sequence[RecordKey]) -> list[list[SealedRecord]]:
        """The records of each key, in the order of the keys; of a key by first day, then sealed original. One
        whose row was altered so that it is none has nothing sealed (`b""`). Raises `VaultRefused` ("limit")
        where they are more than `MAX_READ_BYTES`, before they are all in memory."""
        ...

    def count(self, keys: Sequence[RecordKey]) -> list[int]:
        """How many records each key has; from `MAX_ORIGINALS` on it may be more."""
        ...

    def delete(self, keys: Sequence[RecordKey]) -> int:
        """Deletes all records of these keys; how many there were."""
        ...

    def delete_subjects(self, subjects: Sequence[bytes]) -> int:
        """Deletes all records and consents of these data subjects; how many records there were."""
        ...

    def delete_marked(self, marks: Sequence[bytes]) -> int:
        """Deletes all records with these blind indexes; how many there were."""
        ...

    def put_consents(self, consents: Sequence[Consent]) -> None:
        """Remembers the latest consent of each subject and stream: a later `at` wins; of equal ones that of
        fewer levels, then of lower ones, then one that is not cumulative, whatever the order they come in.
        One that is there is written anew, which mends what was altered of it."""
        ...

    def consents(self, stream: str, subjects: Sequence[bytes]) -> Mapping[bytes, Consent]:
        """The latest known consent of these subjects; whoever never said anything is missing. One whose row
        was altered so that it is none has no seal."""
        ...

    def records(self) -> int:
        """How many records there are (for display; may be hours behind)."""
        ...

    def spend(self, allowances: Sequence[Allowance], amount: int) -> Allowance | None:
        """Takes `amount` from all allowances, or from none: then one that does not have it is returned. It is
        durable once a later `append` is, without which nothing is told.

        If the answer to it was lost on the way it may have been taken twice: a limit that ends too early,
        never one that ends too late. Windows that began more than two days ago are forgotten.
        """
        ...

    def append(self, entries: Sequence[Entry]) -> bool:
        """Appends up to `MOST_ENTRIES` entries with consecutive numbers, durably and all or none. False if
        one of these numbers is taken, or the one before the first is not: somebody else appended meanwhile,
        or the log was cut.

        A call whose answer was lost on the way is made again, and knows its own entries: each call marks
        those it writes with random bytes, so that somebody else's are never taken for them, though they may
        be the same to the letter.
        """
        ...

    def last_entry(self) -> Entry | None:
        """None in an empty log."""
        ...

    def entries(self, first: int = 1, last: int | None = None) -> Iterator[Entry]:
        """Entries by number, in flat memory. What is missing is missing, and what was altered so that it is
        no number, text, hash or seal is 0 or empty: who verifies, notices."""
        ...

    def anchored(self) -> tuple[int, datetime] | None:
        """Number of the last entry that was anchored, and when. Raises `TamperedRow`."""
        ...

    def remember_anchor(self, sequence: int, at: datetime) -> None:
        """After an anchor was written. One of an earlier entry than what is remembered changes nothing."""
        ...

    def close(self) -> None:
        """Gives its connections back."""
        ...
