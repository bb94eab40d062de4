"""The keys of one batch, in memory: what the privacy kernels are handed. No store, no clock, no randomness.

All operations are deterministic and take lists; the kernels hand in distinct values only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from itertools import pairwise
from typing import NamedTuple, TypeVar

from cryptography.hazmat.primitives.ciphers.aead import AESSIV

from pii_pipeline.keys import bulk, derivation, siv
from pii_pipeline.keys.errors import CannotOpen, KeyDestroyed, KeyMissing
from pii_pipeline.keys.workers import CryptoPool

T = TypeVar("T")

NO_DOMAIN = "none"
"""As a domain: HMAC(secret, value) without any derivation, GitLab's form."""


class DataKeyRef(NamedTuple):
    """Names a data key, but for its level: day of event time, subject salt (32 bytes), key link (16)."""

    day: date
    salt: bytes
    key_link: bytes

    def __repr__(self) -> str:
        return f"DataKeyRef({self.day})"


class Column(NamedTuple):
    """Values of one field: bound to `ad`, each under the data key data_keys[i] names at `level`."""

    level: int
    ad: bytes
    data: Sequence[bytes]
    data_keys: Sequence[DataKeyRef]

    def __repr__(self) -> str:
        return f"Column({len(self.data)} at level {self.level})"


@dataclass(frozen=True)
class Keyring:
    """`window_keys` as `KeyStore.window_keys` gives them (None = expired), `secret` the pseudonym secret.

    Asked for a day it does not hold it raises `KeyMissing`, for an expired one `KeyDestroyed`.
    """

    stream: str
    secret: bytes = field(repr=False)
    window_keys: Mapping[date, bytes | None] = field(repr=False)
    pool: CryptoPool = field(default_factory=CryptoPool, repr=False)

    def pseudonym_roots(self, salts: list[bytes]) -> list[bytes]:
        """What a person's pseudonym keys of all domains are expanded from (32 bytes each)."""
        return bulk.pseudonym_roots(self.secret, salts)

    def pseudonyms(self, domain: str, values: list[bytes], roots: list[bytes] | None = None) -> list[bytes]:
        """The pseudonym (32 bytes) of each value: with one root per value bound to that person, without
        joinable across people; in the domain "none" HMAC(secret, value) either way."""
        if domain == NO_DOMAIN:
            return derivation.hmac_sha256_many(self.secret, values)
        if roots is None:
            key = derivation.joinable_pseudonym_key(self.secret, domain)
            return derivation.hmac_sha256_many(key, values)
        parts = [
            (domain, roots[part], values[part])
            for part in _even_slices(len(values), self.pool.parts(len(values)))
        ]
        return _flat(self.pool.map(bulk.bound_pseudonyms, parts))

    def key_links(self, day: date, key_values: list[bytes], refs: list[bytes]) -> list[bytes]:
        """The key link (16 bytes) of each pair of key field value and subject ref."""
        return derivation.key_links(self._window_key(day), key_values, refs)

    def subject_tokens(self, day: date, refs: list[bytes], key_links: list[bytes]) -> list[bytes]:
        """The subject token (32 bytes) of each row: its ref, sealed and bound to its key link."""
        encrypt = AESSIV(derivation.subject_token_key(self._window_key(day))).encrypt
        return [encrypt(ref, [link]) for ref, link in zip(refs, key_links, strict=True)]

    def open_subject_tokens(self, day: date, tokens: list[bytes], key_links: list[bytes]) -> list[bytes]:
        """The reverse: refs (16 bytes). Raises `CannotOpen` with the position of a token that does not."""
        cipher = AESSIV(derivation.subject_token_key(self._window_key(day)))
        refs: list[bytes] = []
        for token, link in zip(tokens, key_links, strict=True):
            try:
                refs.append(siv.open_raw(cipher, token, [link]))
            except CannotOpen:
                raise CannotOpen(len(refs)) from None
        return refs

    def seal(
        self, level: int, ad: bytes, values: Sequence[bytes], data_keys: Sequence[DataKeyRef]
    ) -> list[bytes]:
        """One column of `seal_columns`."""
        return self.seal_columns([Column(level, ad, values, data_keys)])[0]

    def open(
        self, level: int, ad: bytes, ciphertexts: Sequence[bytes], data_keys: Sequence[DataKeyRef]
    ) -> list[bytes]:
        """One column of `open_columns`."""
        return self.open_columns([Column(level, ad, ciphertexts, data_keys)])[0]

    def seal_columns(self, columns: Sequence[Column]) -> list[list[bytes]]:
        """Tink-format ciphertexts of every column. Columns of one level share their keys: hand them in
        together, making a key costs five times its use."""
        return self._by_key(bulk.seal, columns)

    def open_columns(self, columns: Sequence[Column]) -> list[list[bytes]]:
        """The reverse. Raises `CannotOpen` with the position (in its column) of the first that does not."""
        opened = self._by_key(bulk.unseal, columns)
        plain: list[list[bytes]] = []
        for column in opened:
            plain.append([value for value in column if value is not None])
            if len(plain[-1]) < len(column):
                raise CannotOpen(column.index(None))
        return plain

    def rekey(self, dataset: str, pseudonyms: list[bytes]) -> list[bytes]:
        """Other pseudonyms (32 bytes) for a consented dataset, which the lake's do not lead to."""
        key = derivation.dataset_pseudonym_key(self.secret, dataset)
        return derivation.hmac_sha256_many(key, pseudonyms)

    def outer_seal(self, dataset: str, ad: bytes, ciphertexts: list[bytes]) -> list[bytes]:
        """What stays closed in a consented dataset, closed once more (Tink format) under the dataset's key:
        the lake's ciphertext would link the two."""
        key = derivation.dataset_ciphertext_key(self.secret, dataset)
        encrypt, prefix, bound = AESSIV(key).encrypt, siv.prefix(derivation.dataset_key_id(dataset)), [ad]
        return [prefix + encrypt(ciphertext, bound) for ciphertext in ciphertexts]

    def _window_key(self, day: date) -> bytes:
        if day not in self.window_keys:
            raise KeyMissing(self.stream, day)
        key = self.window_keys[day]
        if key is None:
            raise KeyDestroyed("window", self.stream, day)
        return key

    def _by_key(
        self, function: Callable[[bulk.DataKeys, bulk.Items], list[T]], columns: Sequence[Column]
    ) -> list[list[T]]:
        """Run `function` over all columns' items, sorted by data key, and put the results back in place."""
        numbers: dict[tuple[int, DataKeyRef], int] = {}
        keys: list[int] = []
        for column in columns:
            if len(column.data) != len(column.data_keys):
                raise ValueError("every value needs a data key")
            level = column.level
            keys += [numbers.setdefault((level, ref), len(numbers)) for ref in column.data_keys]
        ads = [number for number, column in enumerate(columns) for _ in column.data]
        data = [value for column in columns for value in column.data]
        order = sorted(range(len(data)), key=keys.__getitem__)
        fields = [column.ad for column in columns]
        days = sorted({ref.day for _, ref in numbers})
        window_keys = [self._window_key(day) for day in days]
        window_of = {day: number for number, day in enumerate(days)}
        names = list(numbers)

        parts: list[tuple[bulk.DataKeys, bulk.Items]] = []
        for part in _slices_by_key(order, keys, self.pool.parts(len(data))):
            chosen = order[part]
            first, last = keys[chosen[0]], keys[chosen[-1]]
            rows = names[first : last + 1]
            table = bulk.DataKeys(
                self.stream,
                window_keys,
                [window_of[ref.day] for _, ref in rows],
                [ref.salt for _, ref in rows],
                [ref.key_link for _, ref in rows],
                [level for level, _ in rows],
            )
            items = bulk.Items(
                fields, [keys[i] - first for i in chosen], [ads[i] for i in chosen], [data[i] for i in chosen]
            )
            parts.append((table, items))
        placed: list[T | None] = [None] * len(data)
        for position, result in zip(order, _flat(self.pool.map(function, parts)), strict=True):
            placed[position] = result
        results: list[list[T]] = []
        start = 0
        for column in columns:
            results.append(placed[start : start + len(column.data)])  # pyright: ignore[reportArgumentType]
            start += len(column.data)
        return results


def _even_slices(count: int, parts: int) -> list[slice]:
    return [slice(count * part // parts, count * (part + 1) // parts) for part in range(parts)]


def _slices_by_key(order: list[int], keys: list[int], parts: int) -> list[slice]:
    """About even slices of `order`, cut where the key changes; none is empty."""
    cuts = [0]
    for part in _even_slices(len(order), parts):
        cut = part.stop
        while 0 < cut < len(order) and keys[order[cut]] == keys[order[cut - 1]]:
            cut += 1
        if cut > cuts[-1]:
            cuts.append(cut)
    return [slice(start, stop) for start, stop in pairwise(cuts)]


def _flat(lists: list[list[T]]) -> list[T]:
    return [item for part in lists for item in part]
