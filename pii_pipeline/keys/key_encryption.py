"""The key-encryption key: the one secret outside the key store, under which every stored key is wrapped."""

from __future__ import annotations

import math
import secrets
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from cryptography.hazmat.primitives.ciphers.aead import AESSIV

from pii_pipeline.database import make_private_file
from pii_pipeline.keys import siv
from pii_pipeline.keys.derivation import SIV_KEY_BYTES, canonical_context
from pii_pipeline.keys.errors import CannotOpen, KeyEncryptionKeyError, UnwrapFailed
from pii_pipeline.keys.kms import SCHEME, WRAP_VERSION, KmsKey, wrapped_under

_SETTING = "PII_KEY_ENCRYPTION_KEY"
_SUPPORTED = "use file:PATH (a local key file, made on first use) or aws-kms://KEY (id, ARN or alias/NAME)"
_FILE_HEAD = "pii-key-encryption-key-1:"
_WRAP_VERSION = b"\x01"


class KeyEncryptionKey(Protocol):
    """Wraps keys; `context` says what a key is for and must be the same to unwrap it.

    `held_seconds`: for how long what it opened may be used before it is asked again.
    """

    held_seconds: float

    def wrap(self, key: bytes, context: Mapping[str, str]) -> bytes:
        """`key`, closed."""
        ...

    def unwrap(self, wrapped: bytes, context: Mapping[str, str]) -> bytes:
        """The reverse; raises `UnwrapFailed`."""
        ...


def open_key_encryption_key(uri: str) -> KeyEncryptionKey:
    """The key-encryption key at `uri`. Raises `KeyEncryptionKeyError` naming what is supported."""
    scheme, _, rest = uri.partition(":")
    name = rest.removeprefix("//")
    if scheme == "file" and name:
        return FileKey(Path(name))
    if scheme == SCHEME and name and rest.startswith("//"):
        return KmsKey(name)
    raise KeyEncryptionKeyError(f"{_SETTING}: no key-encryption key that is supported — {_SUPPORTED}")


def open_earlier_key(uri: str) -> KeyEncryptionKey:
    """The same for a key that has wrapped something: a file that is not there is an error, not a new key."""
    path = Path(uri.removeprefix("file:").removeprefix("//"))
    if uri.startswith("file:") and not path.exists():
        raise KeyEncryptionKeyError(f"{path} is not there; name the file that the stored keys are under")
    return open_key_encryption_key(uri)


class FileKey:
    """A key in a local file that only its owner can read.

    A missing file is made (0600, directories 0700), complete or not at all; of processes that race one wins
    and all get its key. Raises `KeyEncryptionKeyError` for a file that others can read or that holds no key.
    Wrapped: version byte ‖ AES-256-SIV with the context, sorted and length-prefixed, as associated data.
    """

    held_seconds = math.inf  # the key itself is in memory

    def __init__(self, path: Path) -> None:
        if not path.exists():
            make_private_file(path, f"{_FILE_HEAD}{siv.to_text(secrets.token_bytes(SIV_KEY_BYTES))}\n")
        self._cipher = AESSIV(_read_key_file(path))

    def wrap(self, key: bytes, context: Mapping[str, str]) -> bytes:
        """Deterministic: what is wrapped is random, so equal results say nothing."""
        return _WRAP_VERSION + self._cipher.encrypt(key, [canonical_context(context)])

    def unwrap(self, wrapped: bytes, context: Mapping[str, str]) -> bytes:
        """Raises `UnwrapFailed` for another key, another context or altered bytes."""
        if wrapped[:1] == WRAP_VERSION:
            raise UnwrapFailed(
                "a stored key does not open: it is wrapped under AWS KMS. Set "
                f"{_SETTING} to aws-kms://{wrapped_under(wrapped)}"
            )
        try:
            if wrapped[:1] != _WRAP_VERSION:
                raise CannotOpen
            return siv.open_raw(self._cipher, wrapped[1:], [canonical_context(context)])
        except CannotOpen:
            raise UnwrapFailed(
                "a stored key does not open: the key store was made under another key-encryption key "
                f"(set {_SETTING} to that one), or its row was altered"
            ) from None


def _read_key_file(path: Path) -> bytes:
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode):
        raise KeyEncryptionKeyError(f"{path} is no file; {_SUPPORTED}")
    if mode & 0o077:
        raise KeyEncryptionKeyError(f"{path} can be read by others; change that with: chmod 600 {path}")
    text = path.read_text(encoding="ascii", errors="replace").strip()
    try:
        key = siv.from_text(text.removeprefix(_FILE_HEAD))
    except CannotOpen:
        key = b""
    if not text.startswith(_FILE_HEAD) or len(key) != SIV_KEY_BYTES:
        raise KeyEncryptionKeyError(f"{path} holds no key-encryption key; restore it from its backup")
    return key
