"""The keys of one batch, in memory: what the privacy kernels are handed. No store, no clock, no randomness.

All operations are deterministic and take lists; the kernels hand in distinct values only. Deriving a key and
making an object of it costs five times its use, and an object has some KB. So items are taken in order of
their keys: each key is derived once per call, and no two objects live at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV
from numpy.typing import NDArray

from pii_pipeline.keys import derivation, siv
from pii_pipeline.keys.errors import CannotOpen, KeyDestroyed, KeyMissing, SaltMissing

NO_DOMAIN = "none"
"""As a domain: HMAC(secret, value) without any derivation, GitLab's form."""


@dataclass(frozen=True, slots=True)
class DataKeys:
    """Names data keys, but for their level: day of event time, subject salt (32 bytes), key link (16)."""

    days: Sequence[date]
    salts: Sequence[bytes] = field(repr=False)
    key_links: Sequence[bytes]


class Column(NamedTuple):
    """Values of one field: bound to `ad`, data[i] under the data key of number data_keys[i] at `level`."""

    level: int
    ad: bytes
    data: Sequence[bytes]
    data_keys: NDArray[np.int64]

    def __repr__(self) -> str:
        return f"Column({len(self.data)} at level {self.level})"


@dataclass(frozen=True)
class Keyring:
    """`window_keys` as `KeyStore.window_keys` gives them (None = expired), `secret` the pseudonym secret,
    `snowplow_salt` that of Snowplow's hashes, where the stream's contract has any.

    Asked for a day it does not hold it raises `KeyMissing`, for an expired one `KeyDestroyed`.
    """

    stream: str
    secret: bytes = field(repr=False)
    window_keys: Mapping[date, bytes | None] = field(repr=False)
    snowplow_salt: bytes | None = field(default=None, repr=False)

    def pseudonym_roots(self, salts: list[bytes]) -> list[bytes]:
        """What a person's pseudonym keys of all domains are expanded from (32 bytes each)."""
        return [derivation.pseudonym_root(self.secret, salt) for salt in salts]

    def pseudonyms(self, domain: str, values: list[bytes], roots: list[bytes] | None = None) -> list[bytes]:
        """The pseudonym (32 bytes) of each value: with one root per value bound to that person, without
        joinable across people; in the domain "none" HMAC(secret, value) either way.

        Fastest where the values of one person come one after the other.
        """
        if domain == NO_DOMAIN:
            return derivation.hmac_sha256_many(self.secret, values)
        if roots is None:
            key = derivation.joinable_pseudonym_key(self.secret, domain)
            return derivation.hmac_sha256_many(key, values)
        return derivation.bound_pseudonyms(domain, roots, values)

    def snowplow_hashes(self, function: str, values: list[bytes]) -> list[bytes]:
        """Snowplow's pseudonym of each value, as long as the hash function's digests."""
        if self.snowplow_salt is None:
            raise SaltMissing(f"the keyring of stream {self.stream} has no salt")
        return derivation.salted_hashes(function, self.snowplow_salt, values)

    def key_links(self, day: date, key_values: list[bytes], refs: list[bytes]) -> list[bytes]:
        """The key link (16 bytes) of each pair of key field value and subject ref."""
        return derivation.key_links(self._window_key(day), key_values, refs)

    def subject_tokens(self, day: date, refs: list[bytes], key_links: list[bytes]) -> list[bytes]:
        """The subject token (32 bytes) of each row: its ref, sealed and bound to its key link."""
        encrypt = AESSIV(derivation.subject_token_key(self._window_key(day))).encrypt
        return [encrypt(ref, [link]) for ref, link in zip(refs, key_links, strict=True)]

    def open_subject_tokens(self, day: date, tokens: list[bytes], key_links: list[bytes]) -> list[bytes]:
        """The reverse: refs (16 bytes). Raises `CannotOpen` with the position of a token that does not."""
        decrypt = AESSIV(derivation.subject_token_key(self._window_key(day))).decrypt
        refs: list[bytes] = []
        try:
            for token, link in zip(tokens, key_links, strict=True):
                refs.append(decrypt(token, [link]))
        except (InvalidTag, ValueError):  # ValueError: shorter than a SIV
            raise CannotOpen(len(refs)) from None
        return refs

    def seal_columns(self, keys: DataKeys, columns: Sequence[Column]) -> list[list[bytes]]:
        """Tink-format ciphertexts of every column, whose `data_keys` number those of `keys`. Columns of one
        level share their data keys: hand them in together."""
        return self._in_order_of_keys(_seal, keys, columns)

    def open_columns(self, keys: DataKeys, columns: Sequence[Column]) -> list[list[bytes]]:
        """The reverse. Raises `CannotOpen` with the position (in its column) of one that does not."""
        return self._in_order_of_keys(_open, keys, columns)

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

    def _in_order_of_keys(self, use: _Use, keys: DataKeys, columns: Sequence[Column]) -> list[list[bytes]]:
        """Every value of `columns` sealed or opened by `use`, person after person and key after key."""
        values = _Values.of(columns)
        levels = sorted({column.level for column in columns})
        infos = [derivation.data_key_infos(self.stream, level, keys.key_links) for level in levels]
        prefixes = [siv.prefixes(derivation.tink_key_ids(keys.key_links, level)) for level in levels]
        people = _people(keys)
        last, derive = -1, derivation.data_keys(b"", b"")
        for number, level, positions in values.by_key(people, levels):
            if people[number] != last:
                last = people[number]
                derive = derivation.data_keys(self._window_key(keys.days[number]), keys.salts[number])
            use(prefixes[level][number], AESSIV(derive(infos[level][number])), values, positions)
        return values.results()


def _people(keys: DataKeys) -> list[int]:
    """A number for whoever stands behind each data key, in one window."""
    known: dict[tuple[date, bytes], int] = {}
    return [known.setdefault(pair, len(known)) for pair in zip(keys.days, keys.salts, strict=True)]


@dataclass(frozen=True, slots=True, repr=False)
class _Values:
    """The values of some columns one behind the other, and what becomes of them."""

    columns: Sequence[Column]
    data: list[bytes]
    bound: list[list[bytes]]
    done: list[bytes]

    @classmethod
    def of(cls, columns: Sequence[Column]) -> _Values:
        if any(len(column.data) != len(column.data_keys) for column in columns):
            raise ValueError("every value needs a data key")
        data = [value for column in columns for value in column.data]
        bound = [ad for column in columns for ad in [[column.ad]] * len(column.data)]
        return cls(columns, data, bound, [b""] * len(data))

    def by_key(self, people: Sequence[int], levels: Sequence[int]) -> Iterator[tuple[int, int, list[int]]]:
        """The number of each data key and that of its level, with the positions of its values."""
        if not self.data:
            return
        number = np.concatenate([column.data_keys for column in self.columns])
        level = np.repeat(
            [levels.index(column.level) for column in self.columns],
            [len(column.data) for column in self.columns],
        )
        group = (np.asarray(people)[number] * len(people) + number) * len(levels) + level
        order = np.argsort(group, kind="stable")
        group = group[order]
        starts = np.flatnonzero(np.diff(group, prepend=-1))
        first = order[starts]
        positions = order.tolist()
        spans = pairwise([*starts.tolist(), len(positions)])
        for key, of_level, (start, stop) in zip(
            number[first].tolist(), level[first].tolist(), spans, strict=True
        ):
            yield key, of_level, positions[start:stop]

    def results(self) -> list[list[bytes]]:
        """What was made of each column."""
        ends = np.cumsum([0, *(len(column.data) for column in self.columns)]).tolist()
        return [self.done[start:end] for start, end in pairwise(ends)]

    def cannot_open(self, position: int) -> CannotOpen:
        for column in self.columns:
            if position < len(column.data):
                break
            position -= len(column.data)
        return CannotOpen(position)


_Use = Callable[[bytes, AESSIV, _Values, list[int]], None]
"""(Tink prefix, cipher, values, positions of those under this key)"""


def _seal(prefix: bytes, cipher: AESSIV, values: _Values, positions: list[int]) -> None:
    encrypt, data, bound, done = cipher.encrypt, values.data, values.bound, values.done
    for position in positions:
        done[position] = prefix + encrypt(data[position], bound[position])


def _open(prefix: bytes, cipher: AESSIV, values: _Values, positions: list[int]) -> None:
    decrypt, data, bound, done = cipher.decrypt, values.data, values.bound, values.done
    for position in positions:
        try:
            if not data[position].startswith(prefix):
                raise InvalidTag
            done[position] = decrypt(data[position][siv.PREFIX_BYTES :], bound[position])
        except (InvalidTag, ValueError):  # ValueError: shorter than a SIV
            raise values.cannot_open(position) from None
