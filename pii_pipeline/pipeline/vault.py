"""The vault of an installation: store, policy and audit log, sealed and opened by its key store."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from pii_pipeline.keys import vault_records
from pii_pipeline.keys.derivation import canonical_id, encode, subject_tags
from pii_pipeline.keys.errors import KeyEncryptionKeyError, KeyServiceUnavailable
from pii_pipeline.keys.store import KeyStore
from pii_pipeline.keys.vault_records import Whose
from pii_pipeline.vault.errors import KeysUnavailable, VaultRefused
from pii_pipeline.vault.model import Consent, DataSubject, NewRecord, RecordKey, SealedRecord, Withheld


@contextmanager
def keys_at_hand() -> Iterator[None]:
    """Raises `KeysUnavailable` where the key-encryption key cannot be used: not now, or not any more."""
    try:
        yield
    except (KeyEncryptionKeyError, KeyServiceUnavailable) as error:
        raise KeysUnavailable(str(error)) from None


LOADED_AT_ONCE = 8_192
"""Records in one transaction of the vault, of what the main job loads."""


class KeyStoreSeals:
    """Implements `vault.vault.Seals` over a key store. `keys` gives it each time: an installation opens its
    key store anew when its keys have been held for long enough."""

    def __init__(self, keys: Callable[[], KeyStore]) -> None:
        self._keys = keys

    @keys_at_hand()
    def seal(self, records: Sequence[NewRecord]) -> list[SealedRecord]:
        """See `Seals`."""
        keys = self._keys()
        refs = [record.subject or b"" for record in records]
        salts = _salts(keys, refs)
        if not all(ref in salts for ref in refs):
            raise VaultRefused("invalid", "a data subject is not known, or was forgotten")
        names = [_name(record.key) for record in records]
        originals = [record.original.encode() for record in records]
        sealed = vault_records.seal(keys.vault_key(), _whose(refs, salts), names, originals)
        nobody = [original for ref, original in zip(refs, originals, strict=True) if not ref]
        marks = iter(vault_records.marks(keys.index_key(), nobody))
        return [
            SealedRecord(record.key, ref, data, b"" if ref else next(marks), record.seen, record.seen)
            for record, ref, data in zip(records, refs, sealed, strict=True)
        ]

    @keys_at_hand()
    def open(self, records: Sequence[SealedRecord]) -> list[str | Withheld]:
        """See `Seals`."""
        keys = self._keys()
        salts = _salts(keys, [record.subject for record in records])
        known = [number for number, record in enumerate(records) if record.subject in salts]
        refs = [records[number].subject for number in known]
        names = [_name(records[number].key) for number in known]
        sealed = [records[number].sealed for number in known]
        originals: list[str | Withheld] = [Withheld.FORGOTTEN] * len(records)
        opened = vault_records.unseal(keys.vault_key(), _whose(refs, salts), names, sealed)
        for number, original in zip(known, opened, strict=True):
            originals[number] = _told(original)
        return originals

    @keys_at_hand()
    def consent_seals(self, consents: Sequence[Consent]) -> list[bytes]:
        """See `Seals`."""
        parts = ((one.subject, one.stream, one.levels, one.cumulative, one.at) for one in consents)
        return vault_records.consent_seals(self._keys().vault_key(), parts)

    @keys_at_hand()
    def marks(self, originals: Sequence[str]) -> list[bytes]:
        """See `Seals`."""
        texts = [original.encode() for original in originals]
        return vault_records.marks(self._keys().index_key(), texts)


class KeyStoreSubjects:
    """Implements `vault_service.backend.Subjects` over a key store, which `keys` gives each time.

    `namespaces`: those of the contracts. A person of any other is nobody that an erasure would name.
    """

    def __init__(self, keys: Callable[[], KeyStore], namespaces: Collection[str]) -> None:
        self._keys = keys
        self._namespaces = frozenset(namespaces)

    @keys_at_hand()
    def enter(self, subjects: Sequence[DataSubject]) -> list[bytes]:
        """See `Subjects`."""
        keys = self._keys()
        tags = [self._tag(keys, subject) for subject in subjects]
        return [subject.ref for subject in keys.subjects(tags)]

    @keys_at_hand()
    def find(self, subject: DataSubject) -> bytes | None:
        """See `Subjects`."""
        keys = self._keys()
        known = keys.known([self._tag(keys, subject)])
        return next((subject.ref for subject in known.values()), None)

    def _tag(self, keys: KeyStore, subject: DataSubject) -> bytes:
        if subject.namespace not in self._namespaces:
            raise VaultRefused("invalid", "no contract has a data subject of this namespace")
        if not subject.id:
            raise VaultRefused("invalid", "a data subject without an id is nobody")
        return subject_tags(keys.index_key(), subject.namespace, [canonical_id(subject.id)])[0]


def _salts(keys: KeyStore, refs: Sequence[bytes]) -> dict[bytes, bytes]:
    """The salt of each subject that is not forgotten; an empty one of nobody named."""
    named = list(dict.fromkeys(filter(None, refs)))
    return {b"": b"", **(keys.salts_of(named) if named else {})}


def _told(original: bytes | None) -> str | Withheld:
    try:
        return Withheld.TAMPERED if original is None else original.decode()
    except UnicodeDecodeError:
        return Withheld.TAMPERED


def _whose(refs: Sequence[bytes], salts: dict[bytes, bytes]) -> Whose:
    numbers = {ref: number for number, ref in enumerate(dict.fromkeys(refs))}
    subject = np.array([numbers[ref] for ref in refs], np.int64)
    return Whose(subject, list(numbers), [salts[ref] for ref in numbers])


def _name(key: RecordKey) -> bytes:
    return encode(key.stream.encode(), key.field.encode(), key.pseudonym.encode())
