"""The keys of a chunk in the form the kernels know: people and data keys by number."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date

from pii_pipeline.keys.keyring import Column, DataKeyRef, Keyring
from pii_pipeline.privacy.sealer import Index, SealedColumn


@dataclass(frozen=True, slots=True)
class DataKeys:
    """The distinct data keys of a chunk, one per (window, subject, key link)."""

    days: list[date]
    salts: list[bytes] = field(repr=False)
    key_links: list[bytes]

    def refs(self) -> list[DataKeyRef]:
        """What the keyring derives them from."""
        return [DataKeyRef(*key) for key in zip(self.days, self.salts, self.key_links, strict=True)]


class ChunkSealer:
    """Implements `privacy.sealer.Sealer` for one chunk."""

    def __init__(self, keyring: Keyring, salts: list[bytes], data_keys: DataKeys) -> None:
        self._keyring = keyring
        self._roots = keyring.pseudonym_roots(salts)
        self._refs = data_keys.refs()

    def pseudonyms(self, domain: str, values: list[bytes], subjects: Index | None) -> list[bytes]:
        roots = None if subjects is None else [self._roots[i] for i in subjects.tolist()]
        return self._keyring.pseudonyms(domain, values, roots)

    def seal(self, columns: list[SealedColumn]) -> list[list[bytes]]:
        return self._keyring.seal_columns(_columns(columns, self._refs))


class ChunkOpener:
    """Implements `privacy.sealer.Opener` for one chunk of one consented dataset."""

    def __init__(self, keyring: Keyring, dataset: str, data_keys: DataKeys) -> None:
        self._keyring = keyring
        self._dataset = f"{keyring.stream}/{dataset}"  # two streams may each have a dataset of that name
        self._refs = data_keys.refs()

    def open(self, columns: list[SealedColumn]) -> list[list[bytes]]:
        return self._keyring.open_columns(_columns(columns, self._refs))

    def rekey(self, pseudonyms: list[bytes]) -> list[bytes]:
        return self._keyring.rekey(self._dataset, pseudonyms)

    def outer_seal(self, associated_data: bytes, ciphertexts: list[bytes]) -> list[bytes]:
        return self._keyring.outer_seal(self._dataset, associated_data, ciphertexts)


def _columns(columns: list[SealedColumn], refs: list[DataKeyRef]) -> list[Column]:
    return [
        Column(
            column.level, column.associated_data, column.values, [refs[i] for i in column.data_keys.tolist()]
        )
        for column in columns
    ]
