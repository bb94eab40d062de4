"""Deterministic authenticated encryption: AES-256-SIV in Google Tink's wire format.

``0x01 ‖ key id (4 bytes, big-endian) ‖ AES-256-SIV(key, plaintext, associated data = [x])``: byte-identical
to Tink's deterministic AEAD with associated data x. With x = b"" it is what STRM Privacy writes.
"""

from __future__ import annotations

import base64
import binascii

import numpy as np
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV
from numpy.typing import NDArray

from pii_pipeline.keys.errors import CannotOpen

PREFIX_BYTES = 5
OVERHEAD_BYTES = PREFIX_BYTES + 16
"""A ciphertext is this much longer than its plaintext."""


def prefix(key_id: int) -> bytes:
    """The five bytes before the ciphertext; `key_id` is 0 … 2³² − 1."""
    return b"\x01" + key_id.to_bytes(4, "big")


def prefixes(key_ids: NDArray[np.uint32]) -> list[bytes]:
    """The prefix of each key id."""
    table = np.empty((len(key_ids), PREFIX_BYTES), np.uint8)
    table[:, 0] = 1
    table[:, 1:] = key_ids.astype(">u4")[:, None].view(np.uint8)
    joined = table.tobytes()
    return [joined[at : at + PREFIX_BYTES] for at in range(0, len(joined), PREFIX_BYTES)]


def encrypt(key: bytes, key_id: int, plaintext: bytes, associated_data: bytes) -> bytes:
    """`plaintext` (any length, 0 included) under a key of 64 bytes."""
    return prefix(key_id) + AESSIV(key).encrypt(plaintext, [associated_data])


def decrypt(key: bytes, key_id: int, ciphertext: bytes, associated_data: bytes) -> bytes:
    """The reverse; raises `CannotOpen` when key, key id, associated data or ciphertext is another."""
    if ciphertext[:PREFIX_BYTES] != prefix(key_id):
        raise CannotOpen
    return open_raw(AESSIV(key), ciphertext[PREFIX_BYTES:], [associated_data])


def open_raw(cipher: AESSIV, ciphertext: bytes, associated_data: list[bytes]) -> bytes:
    """AES-SIV without Tink's prefix; raises `CannotOpen`."""
    try:
        return cipher.decrypt(ciphertext, associated_data)
    except (InvalidTag, ValueError):  # ValueError: shorter than a SIV
        raise CannotOpen from None


def to_text(ciphertext: bytes) -> str:
    """Base64 as Tink and STRM write it: standard alphabet, padded."""
    return base64.b64encode(ciphertext).decode("ascii")


def from_text(text: str) -> bytes:
    """The reverse; raises `CannotOpen` for anything that is not exactly such base64."""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise CannotOpen from None
