"""The vault's ciphers: originals sealed under vault key and subject salt, marks to find some by, and seals of
consents.

A sealed original is ``0x01 ‖ AES-256-SIV(record key, original, associated data = [name, subject ref])``. It
has no Tink prefix: nobody but the vault opens it. Deriving a key and making an object of it costs several
times its use, so records are taken in order of their subjects, and each key is derived once per call.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple, TypeVar

import numpy as np
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV
from numpy.typing import NDArray

from pii_pipeline.keys import derivation

Done = TypeVar("Done")

ConsentParts = tuple[bytes, str, Collection[int], bool, datetime]
"""A subject's ref, the stream, the levels, whether they are cumulative, and when it was said."""

VERSION = b"\x01"
"""The first byte of a sealed original."""


class Whose(NamedTuple):
    """The data subjects of some records: record i is about number `subject[i]`, whose ref (16 bytes) and salt
    (32 bytes) these are. An empty ref and salt stand for nobody named."""

    subject: NDArray[np.int64]
    refs: Sequence[bytes]
    salts: Sequence[bytes]

    def __repr__(self) -> str:
        return f"Whose({len(self.subject)} records of {len(self.refs)} subjects)"


def record_names(stream: str, field: str, pseudonyms: Iterable[bytes]) -> list[bytes]:
    """What the records of one field are called where they are sealed; pseudonyms as UTF-8 text."""
    head = derivation.encode(stream.encode(), field.encode())
    return [head + len(name).to_bytes(4, "big") + name for name in pseudonyms]


def seal(vault_key: bytes, whose: Whose, names: Sequence[bytes], originals: Sequence[bytes]) -> list[bytes]:
    """Each original (UTF-8), bound to its name and subject; equal ones are sealed alike."""

    def use(cipher: AESSIV, position: int, ref: bytes) -> bytes:
        return VERSION + cipher.encrypt(originals[position], [names[position], ref])

    return _by_subject(vault_key, whose, use)


def unseal(
    vault_key: bytes, whose: Whose, names: Sequence[bytes], sealed: Sequence[bytes]
) -> list[bytes | None]:
    """The reverse; None for what does not open."""

    def use(cipher: AESSIV, position: int, ref: bytes) -> bytes | None:
        data = sealed[position]
        if not data.startswith(VERSION):
            return None
        try:
            return cipher.decrypt(data[len(VERSION) :], [names[position], ref])
        except (InvalidTag, ValueError):  # ValueError: shorter than a SIV
            return None

    return _by_subject(vault_key, whose, use)


def marks(index_key: bytes, originals: Iterable[bytes]) -> list[bytes]:
    """The blind index (32 bytes) of each original, by its exact bytes."""
    return derivation.hmac_sha256_many(derivation.vault_mark_key(index_key), originals)


def consent_seals(vault_key: bytes, consents: Iterable[ConsentParts]) -> list[bytes]:
    """The seal (32 bytes) of each consent."""
    messages = (
        derivation.encode(
            ref,
            stream.encode(),
            ",".join(map(str, sorted(levels))).encode(),
            b"1" if cumulative else b"0",
            at.astimezone(UTC).isoformat(timespec="microseconds").encode(),
        )
        for ref, stream, levels, cumulative, at in consents
    )
    return derivation.hmac_sha256_many(derivation.vault_consent_key(vault_key), messages)


def _by_subject(vault_key: bytes, whose: Whose, use: Callable[[AESSIV, int, bytes], Done]) -> list[Done]:
    done: list[Any] = [None] * len(whose.subject)
    order = np.argsort(whose.subject, kind="stable")
    last, ref, cipher = -1, b"", AESSIV(bytes(derivation.SIV_KEY_BYTES))
    for position, number in zip(order.tolist(), whose.subject[order].tolist(), strict=True):
        if number != last:
            last, ref = number, whose.refs[number]
            cipher = AESSIV(derivation.vault_record_key(vault_key, whose.salts[number]))
        done[position] = use(cipher, position, ref)
    return done
