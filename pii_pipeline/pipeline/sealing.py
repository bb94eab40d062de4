"""The keys of a chunk in the form the kernels know: people and data keys by number."""

from __future__ import annotations

from pii_pipeline.keys.keyring import Column, DataKeys, Keyring
from pii_pipeline.privacy.sealer import Index, SealedColumn


class ChunkSealer:
    """Implements `privacy.sealer.Sealer` for one chunk."""

    def __init__(self, keyring: Keyring, salts: list[bytes], data_keys: DataKeys) -> None:
        self._keyring = keyring
        self._roots = keyring.pseudonym_roots(salts)
        self._data_keys = data_keys

    def pseudonyms(self, domain: str, values: list[bytes], subjects: Index | None) -> list[bytes]:
        roots = None if subjects is None else [self._roots[i] for i in subjects.tolist()]
        return self._keyring.pseudonyms(domain, values, roots)

    def seal(self, columns: list[SealedColumn]) -> list[list[bytes]]:
        return self._keyring.seal_columns(self._data_keys, _columns(columns))


class ChunkOpener:
    """Implements `privacy.sealer.Opener` for one chunk of one consented dataset."""

    def __init__(self, keyring: Keyring, dataset: str, data_keys: DataKeys) -> None:
        self._keyring = keyring
        self._dataset = f"{keyring.stream}/{dataset}"  # two streams may each have a dataset of that name
        self._data_keys = data_keys

    def open(self, columns: list[SealedColumn]) -> list[list[bytes]]:
        return self._keyring.open_columns(self._data_keys, _columns(columns))

    def rekey(self, pseudonyms: list[bytes]) -> list[bytes]:
        return self._keyring.rekey(self._dataset, pseudonyms)

    def outer_seal(self, associated_data: bytes, ciphertexts: list[bytes]) -> list[bytes]:
        return self._keyring.outer_seal(self._dataset, associated_data, ciphertexts)


def _columns(columns: list[SealedColumn]) -> list[Column]:
    return [
        Column(column.level, column.associated_data, column.values, column.data_keys) for column in columns
    ]
