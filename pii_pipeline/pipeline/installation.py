"""One installation of the product: settings, streams, ledger, key store, zones, opened once per process."""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import date
from threading import Lock, RLock

from cryptography.hazmat.primitives.ciphers.aead import AESSIV
from sqlalchemy import Engine

from pii_pipeline.contracts.model import Contract
from pii_pipeline.database import connect, upgrade
from pii_pipeline.keys.derivation import canonical_id, subject_tags, vault_audit_key
from pii_pipeline.keys.key_encryption import open_key_encryption_key
from pii_pipeline.keys.keyring import Keyring
from pii_pipeline.keys.secret_values import secret_value
from pii_pipeline.keys.store import KeyStore, PseudonymSecret, SnowplowSalt
from pii_pipeline.lake import Zone, Zones, delete
from pii_pipeline.ledger import DEFAULT_MAX_BATCH_BYTES, Batch, Ledger, hour_start
from pii_pipeline.pipeline.contract_lock import refuse_changed
from pii_pipeline.pipeline.made import MadeAhead
from pii_pipeline.pipeline.once import once
from pii_pipeline.pipeline.vault import KeyStoreSeals, KeyStoreSubjects
from pii_pipeline.pipeline.workers import Workers, worth_workers
from pii_pipeline.privacy.plan import compile_plan
from pii_pipeline.settings import Settings
from pii_pipeline.streams.loader import Streams, load_streams
from pii_pipeline.streams.model import LAYERS, Stream
from pii_pipeline.vault.anchors import open_anchors
from pii_pipeline.vault.audit import AuditLog
from pii_pipeline.vault.policy import Policy, load_policy
from pii_pipeline.vault.stores import Entry, VaultStore, open_store
from pii_pipeline.vault.vault import Vault
from pii_pipeline.warehouse.warehouse import Warehouse, warehouse_at

EVENT_DIGESTS = "event_digests"
"""The dataset by which redelivered events are told, beside ``validated_events``."""

REVERSIBLE_ORIGINALS = "reversible_originals"
"""What a batch has for the vault, beside ``pseudonymized_events``: originals, sealed."""

LATEST_CONSENTS = "latest_consents"
"""What its people consented to last, for the vault."""

BESIDE = (EVENT_DIGESTS, REVERSIBLE_ORIGINALS, LATEST_CONSENTS)
"""Datasets of the restricted zone that are written beside others, and are no assets."""


@dataclass(frozen=True)
class Quarantine:
    """Seals the bad records of one stream and arrival day, and tags whom they are about."""

    cipher: AESSIV
    index_key: bytes
    namespace: str | None

    def seal(self, record: bytes, location: bytes) -> bytes:
        """The record as AES-SIV ciphertext, bound to where it was found."""
        return self.cipher.encrypt(record, [location])

    def tag(self, subject: str) -> bytes:
        """The tag of a data subject's id."""
        assert self.namespace is not None
        return subject_tags(self.index_key, self.namespace, [canonical_id(subject)])[0]


class Installation:
    """What every layer needs, made when it is first asked for.

    Opening it makes key-encryption key, database and zones where they are missing. Raises the typed errors
    of what it opens: a wrong setting, a changed secret. A stream that does not load stops nobody who does not
    ask for it.
    """

    def __init__(self, settings: Settings, batch_bytes: int = DEFAULT_MAX_BATCH_BYTES) -> None:
        self.settings = settings
        self.workers = settings.workers
        self.batch_bytes = batch_bytes
        self.ahead: dict[tuple[str, str], MadeAhead] = {}
        """What was made ahead and waits for its commit, by layer and batch."""
        self.sealed_early: dict[tuple[str, str], int] = {}
        """New landing objects of a stream and hour that were sealed ahead."""
        self._held: set[str] = set()
        self._windows: dict[str, dict[date, bytes | None]] = {}
        self._windows_lock = Lock()
        self.making = RLock()
        """Held while a property is made, or forgotten."""
        self._keys_opened = 0.0
        self._vault_head: Entry | None = None

    @once
    def streams(self) -> Streams:
        """The streams by name, and what is wrong with those that do not load."""
        return load_streams(self.settings.streams)

    @once
    def zones(self) -> Zones:
        """The four zones."""
        at, key = self.settings.zones, self.settings.s3_sse_kms_key_id
        return Zones(
            Zone.at("landing", at["landing"], key),
            Zone.at("restricted", at["restricted"], key),
            Zone.at("lake", at["lake"], key),
            Zone.at("consented", at["consented"], key),
        )

    @once
    def engine(self) -> Engine:
        """The database of ledger and key store, with the tables of this release."""
        engine = connect(self.settings.database_url)
        upgrade(engine)
        return engine

    @once
    def ledger(self) -> Ledger:
        """What came and what was made of it."""
        return Ledger(self.engine)

    @once
    def keys(self) -> KeyStore:
        """The key store."""
        self._keys_opened = time.monotonic()
        return KeyStore(self.engine, open_key_encryption_key(self.settings.key_encryption_key))

    @once
    def warehouse(self) -> Warehouse:
        """Where warehouse tables are."""
        return warehouse_at(self.settings.warehouse_url)

    @once
    def secret(self) -> PseudonymSecret:
        """The pseudonym secret; refuses one that differs from the store's."""
        given = self.settings.pseudonym_secret
        return self.keys.pseudonym_secret(given and secret_value("PII_PSEUDONYM_SECRET", given))

    @once
    def snowplow_salt(self) -> SnowplowSalt:
        """The salt of Snowplow's hashes; refuses to be without one, or with another than the store's."""
        given = self.settings.snowplow_salt
        return self.keys.snowplow_salt(given and secret_value("PII_SNOWPLOW_SALT", given))

    @once
    def vault_store(self) -> VaultStore:
        """Where the vault's records are, with the tables of this release."""
        return open_store(self.settings.vault_url)

    @once
    def vault_policy(self) -> Policy:
        """Who may ask the vault what."""
        reversible = [
            (stream.name, field)
            for stream in self.streams.values()
            for contract in stream.versions
            for field in compile_plan(contract).reversible
        ]
        return load_policy(self.settings.vault_policy, reversible)

    @once
    def vault_audit(self) -> AuditLog:
        """The vault's log."""
        policy = self.vault_policy
        anchors = open_anchors(self.settings.vault_anchors, policy.anchor_retention)
        key = vault_audit_key(self.keys.vault_key())
        return AuditLog(self.vault_store, key, policy, anchors, head=self._vault_head)

    @once
    def vault(self) -> Vault:
        """The vault, each look on record. Raises the typed errors of what it opens."""
        seals = KeyStoreSeals(lambda: self.keys)
        return Vault(self.vault_store, seals, self.vault_policy, self.vault_audit)

    @once
    def vault_subjects(self) -> KeyStoreSubjects:
        """The data subjects whom the vault's callers may name."""
        subjects = [contract.data_subject for stream in self.streams.values() for contract in stream.versions]
        return KeyStoreSubjects(lambda: self.keys, {subject.namespace for subject in subjects if subject})

    def secret_version(self, stream: Stream) -> int | str:
        """What of its secrets the stream's pseudonyms depend on. Raises what is wrong with them."""
        version = self.secret.version
        return f"{version} {self.snowplow_salt.mark}" if stream.hashes else version

    @once
    def index_key(self) -> bytes:
        """The key of subject tags."""
        return self.keys.index_key()

    @once
    def digest_seed(self) -> int:
        """64 secret bits for the hashes by which redelivered events are told."""
        return int.from_bytes(hmac.digest(self.index_key, b"event digests", hashlib.sha256)[:8], "big")

    def hold_to_contracts(self, stream: Stream, using: bool = True) -> None:
        """Raises `ContractChanged` if an active contract is not what it was when it was first in use.

        `using`: events are processed under them now, which the ledger remembers.
        """
        if stream.digest in self._held:
            return
        known = self.ledger.active_contracts()
        if using:
            known = self.ledger.remember_contracts(
                {contract.contract: contract.digest for contract in stream.active}
            )
        refuse_changed(stream.active, known)
        if using:
            self._held.add(stream.digest)

    @once
    def processes(self) -> Workers:
        """Processes that make whole batches, each with an installation of its own and one thread."""
        return Workers(self.workers, Installation, (replace(self.settings, workers=1),))

    def forget_early_work(self) -> None:
        """At the end of a run: what was made before its turn, and not asked for, nobody will ask for."""
        self.ahead.clear()
        self.sealed_early.clear()
        if "processes" in self.__dict__:
            self.processes.withdraw()

    def worth_workers(self, sizes: Sequence[int]) -> bool:
        """Whether things of these `sizes` (bytes in landing) are worth making side by side."""
        return worth_workers(self.workers, sizes)

    def keyring(self, stream: Stream, days: Collection[date]) -> Keyring:
        """The keys of a stream for these rotation windows."""
        with self._windows_lock:
            known = self._windows.setdefault(stream.name, {})
            missing = [day for day in days if day not in known]
            if missing:
                known.update(self.keys.window_keys(stream.name, missing))
            salt = self.snowplow_salt.value if stream.hashes else None
            return Keyring(stream.name, self.secret.key, dict(known), salt)

    def pseudonym_keys(self, stream: Stream, contract: Contract) -> Keyring:
        """The keys of pseudonyms alone, as a version of the stream's contract has them made."""
        salt = self.snowplow_salt.value if contract.hashes else None
        return Keyring(stream.name, self.secret.key, {}, salt)

    def forget_windows(self) -> None:
        """Has window keys read again: some may have been destroyed."""
        with self._windows_lock:
            self._windows.clear()

    def renew_keys(self) -> None:
        """Forgets all keys that have been in memory for as long as the key-encryption key allows.

        To be called between batches: within one, keys stay the same. What this process appended to the
        vault's log last is remembered, by which it finds a log that was cut.
        """
        with self.making:
            if "keys" not in self.__dict__ or time.monotonic() - self._keys_opened < self.keys.held_seconds:
                return
            audit: AuditLog | None = self.__dict__.get("vault_audit")
            if audit is not None:
                self._vault_head = audit.head
            for name in (
                "keys",
                "secret",
                "snowplow_salt",
                "index_key",
                "digest_seed",
                "vault_audit",
                "vault",
            ):
                self.__dict__.pop(name, None)
            self.forget_windows()
        if audit is not None:
            audit.close()

    def quarantine(self, stream: Stream, batch: Batch) -> Quarantine:
        """Where the bad records of a batch are sealed."""
        key = self.keys.quarantine_key(stream.name, hour_start(batch.hour).date())
        subject = stream.contract.data_subject
        return Quarantine(AESSIV(key), self.index_key, subject.namespace if subject else None)

    def zone_holding(self, dataset: str) -> Zone:
        """The zone in which a dataset's files are."""
        return getattr(self.zones, zone_of(dataset))

    def delete(self, dataset: str, path: str) -> None:
        """Removes a file of a dataset that no commit holds any more."""
        delete(self.zone_holding(dataset), path)

    def close(self) -> None:
        """Ends worker processes and database connections; waits for what anchors the vault's log."""
        if "processes" in self.__dict__:
            self.processes.close()
        if "vault_audit" in self.__dict__:
            self.vault_audit.close()
        if "vault_store" in self.__dict__:
            self.vault_store.close()
        if "engine" in self.__dict__:
            self.engine.dispose()


def zone_of(dataset: str) -> str:
    """The zone a dataset's files are in."""
    if dataset in ("bad_events", "pseudonymized_events"):
        return "lake"
    return "restricted" if dataset in (*LAYERS, *BESIDE) else "consented"
