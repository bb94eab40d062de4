"""The audit log: who looked at what, and why; append-only, each entry bound to the one before.

hash(n) = SHA-256(encode(hash(n − 1), n, text)), hash(0) = 32 zero bytes: whoever has an export can follow it.
seal(n) = HMAC-SHA256(audit key, hash(n)): who can write the database, but has no key, cannot make it anew.
What neither finds is a log cut at its end: anchors do (`anchors`), up to the stated gap.

An entry holds principals, codes, names of streams and fields that the policy knows, counts, and pseudonyms:
nothing of a person, so it survives an erasure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from pii_pipeline.vault.model import Reason, RecordKey


class Action(StrEnum):
    """What an entry is about."""

    CREATE = "create"
    READ = "read"
    DELETE = "delete"
    ERASE = "erase"
    LOAD = "load"  # by the main job
    IMPORT = "import"
    EXPORT = "export"  # of the audit log
    POLICY = "policy"  # another policy than at the last entry of this kind
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Event:
    """What is to be recorded. `keys` become pseudonyms or a digest of them, by `AuditLog`.

    refused: the action that was not done, and why. counts: by words such as asked, found, new, deleted.
    """

    action: Action
    principal: str
    reason: Reason | None = None
    keys: Sequence[RecordKey] = field(default=(), repr=False)
    counts: Mapping[str, int] = field(default_factory=dict)
    refused: tuple[Action, str] | None = None
    detail: Mapping[str, str] = field(default_factory=dict)
    """Words of ours only: the digest of a policy, the batch of a load."""


class AuditLog:
    """Over a store; safe across threads and processes."""

    def record(self, event: Event) -> int:
        """Appends an entry, durably; its number. Entries of threads that wait at once are one transaction."""
        raise NotImplementedError
