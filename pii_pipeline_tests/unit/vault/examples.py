"""A vault for tests: a real store and audit log, a small key hierarchy in memory, a clock that is set."""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

from pii_pipeline.vault.anchors import Anchors, open_anchors
from pii_pipeline.vault.audit import AuditLog
from pii_pipeline.vault.errors import VaultRefused
from pii_pipeline.vault.model import Consent, NewRecord, Reason, RecordKey, SealedRecord, Withheld
from pii_pipeline.vault.policy import Policy, load_policy
from pii_pipeline.vault.stores import VaultStore, open_store
from pii_pipeline.vault.vault import Vault

KEY = bytes(range(32))
MONDAY = datetime(2026, 11, 23, 9, 30, 15, tzinfo=UTC)
ANN, BOB = b"a" * 16, b"b" * 16

POLICY = """\
ticket: "[A-Z]{2,10}-[0-9]{1,9}"
purposes:
  fraud: {description: Fraud., ticket: required}
  support: {description: Calls., consent: 2}
principals:
  operator:
    read:
      - {streams: [logins], fields: [ip], bases: [legal_obligation], purposes: [fraud]}
      - {streams: [logins], fields: [ip, device_id], bases: [consent, contract], purposes: [support]}
      - {streams: [piinguin], fields: [value], bases: [contract], purposes: [piinguin]}
    create: [{streams: [logins, piinguin], fields: [ip, device_id, value]}]
    delete: [{streams: [logins], fields: [ip]}]
    erase: true
    audit: true
  auditor: {audit: true}
  everywhere:
    read: [{streams: ["*"], fields: ["*"], bases: [contract], purposes: [support]}]
    create: [{streams: ["*"], fields: ["*"]}]
  slow:
    read: [{streams: [logins], fields: [ip], bases: [contract], purposes: [support]}]
    limits: {records_per_minute: 3, records_per_day: 5}
"""

KNOWN = [("logins", "ip"), ("logins", "device_id"), ("webshop", "user_id")]

FRAUD = Reason(None, "fraud", "ABC-1")


class Clock:
    """Says what it was set to."""

    def __init__(self) -> None:
        self.now = MONDAY

    def __call__(self) -> datetime:
        return self.now

    def goes_on(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@dataclass
class SmallSeals:
    """`Seals` by the same kind of formulas as the real ones; a forgotten person is one whose salt is gone."""

    salts: dict[bytes, bytes] = field(default_factory=lambda: {ANN: b"salt of ann", BOB: b"salt of bob"})
    opened: int = 0

    def seal(self, records: Sequence[NewRecord]) -> list[SealedRecord]:
        sealed = []
        for record in records:
            subject = record.subject or b""
            if subject and subject not in self.salts:
                raise VaultRefused("invalid", "a data subject was forgotten")
            data = self._cipher(subject).encrypt(record.original.encode(), _bound(record.key, subject))
            mark = b"" if subject else self.marks([record.original])[0]
            sealed.append(SealedRecord(record.key, subject, data, mark, record.seen, record.seen))
        return sealed

    def open(self, records: Sequence[SealedRecord]) -> list[str | Withheld]:
        return [self._open(record) for record in records]

    def consent_seals(self, consents: Sequence[Consent]) -> list[bytes]:
        said = [(one.subject, one.stream, sorted(one.levels), one.cumulative, one.at) for one in consents]
        return [hmac.digest(b"consent key", repr(one).encode(), "sha256") for one in said]

    def marks(self, originals: Sequence[str]) -> list[bytes]:
        return [hmac.digest(b"index key", original.encode(), "sha256") for original in originals]

    def _open(self, record: SealedRecord) -> str | Withheld:
        if record.subject and record.subject not in self.salts:
            return Withheld.FORGOTTEN
        self.opened += 1
        try:
            return (
                self._cipher(record.subject)
                .decrypt(record.sealed, _bound(record.key, record.subject))
                .decode()
            )
        except (InvalidTag, ValueError):
            return Withheld.TAMPERED

    def _cipher(self, subject: bytes) -> AESSIV:
        return AESSIV(hashlib.sha512(b"vault key" + self.salts.get(subject, b"")).digest())


def _bound(key: RecordKey, subject: bytes) -> list[bytes]:
    return [json.dumps([key.stream, key.field, key.pseudonym]).encode(), subject or b"nobody"]


@dataclass
class Parts:
    """A vault and what it is made of."""

    url: str
    folder: Path
    store: VaultStore
    seals: SmallSeals
    policy: Policy
    audit: AuditLog
    anchors: Anchors
    vault: Vault
    clock: Clock

    def entries(self) -> list[dict[str, Any]]:
        """What the audit log says, in order."""
        return [json.loads(entry.text) for entry in self.store.entries()]

    def last(self) -> dict[str, Any]:
        return self.entries()[-1]

    def again(self) -> AuditLog:
        """The log as another process opens it."""
        return AuditLog(open_store(self.url), KEY, self.policy, self.anchors, self.clock)


def make_policy(folder: Path, text: str = POLICY, known: Sequence[tuple[str, str]] = KNOWN) -> Policy:
    """A policy from a file with this text."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "vault-policy.yaml"
    file.write_text(text)
    return load_policy(file, known)


def make(url: str, folder: Path, text: str = POLICY, anchors: str | None = None) -> Parts:
    """A vault over the store at `url`, its anchors in a folder if it is not said otherwise."""
    clock, seals, store = Clock(), SmallSeals(), open_store(url)
    policy = make_policy(folder, text)
    where = open_anchors(anchors or (folder / "anchors").as_uri(), policy.anchor_retention)
    audit = AuditLog(store, KEY, policy, where, clock)
    vault = Vault(store, seals, policy, audit, clock)
    return Parts(url, folder, store, seals, policy, audit, where, vault, clock)


def pseudonym(value: object) -> str:
    return hashlib.sha256(str(value).encode()).hexdigest()


def ip(value: object) -> RecordKey:
    """The key of an ip in the stream logins."""
    return RecordKey("logins", "ip", pseudonym(value))


def of_ann(value: str, subject: bytes | None = ANN) -> NewRecord:
    return NewRecord(ip(value), value, date(2026, 11, 20), subject)


def random_pseudonym() -> str:
    return secrets.token_hex(32)
