"""What can go wrong with keys. No message holds key material or a value from data."""

from __future__ import annotations

from datetime import date


class KeysError(Exception):
    """Base of all errors of this package."""


class InvalidIdentifier(KeysError):
    """A subject's id is neither an integer nor a string that UTF-8 can write."""


class KeyEncryptionKeyError(KeysError):
    """The key-encryption key cannot be used: unsupported, unreadable, readable by others, not allowed."""


class KeyServiceUnavailable(KeysError):
    """AWS KMS or Secrets Manager does not answer at the moment; nothing is wrong with what was asked."""


class SecretUnreadable(KeysError):
    """A setting says that its value lies elsewhere, and it cannot be had there."""


class UnwrapFailed(KeysError):
    """A stored key does not open: made under another key-encryption key, or moved or altered."""


class SecretChanged(KeysError):
    """The secret or salt handed in is not the one this store's pseudonyms were made with."""


class SaltMissing(KeysError):
    """A contract uses Snowplow's hashes, and nobody ever said with which salt."""


class KeyDestroyed(KeysError):
    """A key that was destroyed on purpose; it is never made again."""

    def __init__(self, kind: str, stream: str, day: date) -> None:
        super().__init__(kind, stream, day)

    def __str__(self) -> str:
        kind, stream, day = self.args
        return f"the {kind} key of stream {stream} for {day} has been destroyed"


class KeyMissing(KeysError):
    """A keyring was asked for a day it was not given."""

    def __init__(self, stream: str, day: date) -> None:
        super().__init__(stream, day)

    def __str__(self) -> str:
        stream, day = self.args
        return f"the keyring of stream {stream} holds no window key for {day}"


class CannotOpen(KeysError):
    """A ciphertext does not open: another key, other associated data, or altered. `position` is its place
    in the list handed in."""

    def __init__(self, position: int = 0) -> None:
        super().__init__(position)

    @property
    def position(self) -> int:
        """Index of the ciphertext in the list handed in."""
        return self.args[0]

    def __str__(self) -> str:
        return f"ciphertext number {self.position} does not open under its key and associated data"


class InvalidKeyset(KeysError):
    """Not a cleartext Tink JSON keyset of AES-SIV keys."""
