"""The keys of a chunk in the form the kernels know: people and data keys by number."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from pii_pipeline.keys.keyring import Column, DataKeys, Keyring
from pii_pipeline.privacy.sealer import Index, SealedColumn


class ChunkSealer:
    """Implements `privacy.sealer.Sealer` for one chunk."""

    def __init__(self, keyring: Keyring, salts: list[bytes], data_keys: DataKeys) -> None:
        self._keyring = keyring
        self._roots = keyring.pseudonym_roots(salts)
        self._data_keys = data_keys
        self._sealed: list[tuple[SealedColumn, list[bytes]]] = []

    def pseudonyms(self, domain: str, values: list[bytes], subjects: Index | None) -> list[bytes]:
        roots = None if subjects is None else [self._roots[i] for i in subjects.tolist()]
        return self._keyring.pseudonyms(domain, values, roots)

    def hashes(self, function: str, values: list[bytes]) -> list[bytes]:
        return self._keyring.snowplow_hashes(function, values)

    def seal(self, columns: list[SealedColumn]) -> list[list[bytes]]:
        sealed = self._keyring.seal_columns(self._data_keys, _columns(columns))
        self._sealed += zip(columns, sealed, strict=True)
        return sealed

    def opener(self, dataset: str) -> ChunkOpener:
        """Opens what was sealed here, from memory."""
        return _RememberingOpener(self._keyring, dataset, self._data_keys, self._plaintexts)

    @cached_property
    def _plaintexts(self) -> dict[bytes, dict[bytes, bytes]]:
        """Ciphertext → plaintext, by associated data: that of a field of the contract, which may have come in
        several pieces."""
        plaintexts: dict[bytes, dict[bytes, bytes]] = {}
        for column, sealed in self._sealed:
            of_field = plaintexts.setdefault(column.associated_data, {})
            of_field.update(zip(sealed, column.values, strict=True))
        return plaintexts


@dataclass(frozen=True, slots=True)
class SealedRows:
    """Whose rows those of a chunk are that is still in memory: row i is under the data key `row[i]`."""

    row: Index
    sealer: ChunkSealer


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


class _RememberingOpener(ChunkOpener):
    """Knows the plaintexts: making the data keys once more would take most of the time."""

    def __init__(
        self,
        keyring: Keyring,
        dataset: str,
        data_keys: DataKeys,
        plaintexts: dict[bytes, dict[bytes, bytes]],
    ) -> None:
        super().__init__(keyring, dataset, data_keys)
        self._plaintexts = plaintexts

    def open(self, columns: list[SealedColumn]) -> list[list[bytes]]:
        return [
            [self._plaintexts[column.associated_data][value] for value in column.values] for column in columns
        ]


def _columns(columns: list[SealedColumn]) -> list[Column]:
    return [
        Column(column.level, column.associated_data, column.values, column.data_keys) for column in columns
    ]
