"""A key-encryption key that never leaves AWS KMS.

Wrapped: ``0x02 ‖ encode(key ARN, encrypted data key, AES-256-SIV(data key, key, [context, key ARN]))``. Each
stored key has a data key of its own (64 bytes, GenerateDataKey), which KMS opens (Decrypt) for the same
encryption context only: what the key is for, its stream, its day. KMS writes that context into CloudTrail, in
clear; nothing of a person is in it.

Which KMS key it was, KMS reads from the encrypted data key; Decrypt is not told. So what was wrapped stays
readable when KMS rotates a key's material, when an alias is moved to another key, or when
PII_KEY_ENCRYPTION_KEY names another one, as long as the old one may be used.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from cryptography.hazmat.primitives.ciphers.aead import AESSIV

from pii_pipeline import aws
from pii_pipeline.keys import siv
from pii_pipeline.keys.derivation import SIV_KEY_BYTES, canonical_context, decode, encode
from pii_pipeline.keys.errors import (
    CannotOpen,
    KeyEncryptionKeyError,
    KeyServiceUnavailable,
    UnwrapFailed,
)

HELD_SECONDS = 300
"""How long an opened data key is used before KMS is asked for it again."""
HELD_KEYS = 1_000
"""How many are held at once; the oldest go first."""

SCHEME = "aws-kms"
WRAP_VERSION = b"\x02"
_SETTING = "PII_KEY_ENCRYPTION_KEY"

# What KMS says of a key, and the mend. Both operations answer these.
_STATES = {
    "NotFoundException": ("there is no such key", "name an id, ARN or alias of this account and region"),
    "DisabledException": ("the key is disabled", "enable it (kms:EnableKey)"),
    "KMSInvalidStateException": (
        "the key is pending deletion, or not in a state to be used",
        "cancel its deletion (kms:CancelKeyDeletion) and enable it: deleted, it opens nothing any more",
    ),
    "InvalidKeyUsageException": ("the key is not for encryption", "name a symmetric encryption key"),
    "InvalidArnException": ("no name of a key", "use a key id, a key ARN or alias/NAME"),
    "ValidationException": ("no name of a key", "use a key id, a key ARN or alias/NAME"),
}
_DOES_NOT_OPEN = ("InvalidCiphertextException", "IncorrectKeyException", "ParamValidationError")
_ALTERED = "a stored key does not open under AWS KMS: its row was altered, or moved"


class KmsKey:
    """The KMS key of an id, an ARN, or an alias (``alias/NAME``).

    What KMS cannot do or may not do is raised as `KeyEncryptionKeyError`, naming key and permission; what
    passes by itself, after retries, as `KeyServiceUnavailable`. Safe across threads.
    """

    held_seconds: float = HELD_SECONDS

    def __init__(self, key_id: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._key_id = key_id
        self._held = _Held(clock)
        try:
            self._client: Any = aws.client(aws.session(key_id), "kms")
        except aws.AwsError as error:
            raise _refused(error, "GenerateDataKey", key_id) from None

    def wrap(self, key: bytes, context: Mapping[str, str]) -> bytes:
        """`key` under a new data key, which is held: what was just made is used next."""
        answer = self._ask(
            "GenerateDataKey",
            self._key_id,
            self._client.generate_data_key,
            KeyId=self._key_id,
            NumberOfBytes=SIV_KEY_BYTES,
            EncryptionContext=dict(context),
        )
        arn, encrypted, data_key = answer["KeyId"].encode(), answer["CiphertextBlob"], answer["Plaintext"]
        self._held.put(encrypted, data_key)
        sealed = AESSIV(data_key).encrypt(key, [canonical_context(context), arn])
        return WRAP_VERSION + encode(arn, encrypted, sealed)

    def unwrap(self, wrapped: bytes, context: Mapping[str, str]) -> bytes:
        """Raises `UnwrapFailed` for another context, altered bytes, or what no KMS key has wrapped."""
        if wrapped[:1] != WRAP_VERSION:
            raise UnwrapFailed(
                "a stored key does not open: it is wrapped under a key file, not under AWS KMS. Set "
                f"{_SETTING} to that file, or bring all keys under KMS: pii keys rewrap --from file:PATH"
            )
        arn, encrypted, sealed = _parts(wrapped)
        try:
            data_key = self._data_key(encrypted, context, arn)
            return siv.open_raw(AESSIV(data_key), sealed, [canonical_context(context), arn.encode()])
        except CannotOpen:
            raise UnwrapFailed(_ALTERED) from None

    def _data_key(self, encrypted: bytes, context: Mapping[str, str], arn: str) -> bytes:
        data_key = self._held.get(encrypted)
        if data_key is None:
            answer = self._ask(
                "Decrypt",
                arn,
                self._client.decrypt,
                CiphertextBlob=encrypted,
                EncryptionContext=dict(context),
            )
            data_key = answer["Plaintext"]
            if len(data_key) != SIV_KEY_BYTES:
                raise CannotOpen  # another's, of the same context
            self._held.put(encrypted, data_key)
        return data_key

    def _ask(self, operation: str, key: str, request: Callable[..., Any], **named: Any) -> Mapping[str, Any]:
        try:
            with aws.typed_errors():
                return request(**named)
        except aws.AwsError as error:
            if error.code in _DOES_NOT_OPEN:
                raise CannotOpen from None
            raise _refused(error, operation, key) from None


def wrapped_under(wrapped: bytes) -> str | None:
    """The ARN of the KMS key that wrapped this; None if none did. Raises `UnwrapFailed`."""
    return _parts(wrapped)[0] if wrapped[:1] == WRAP_VERSION else None


def _parts(wrapped: bytes) -> tuple[str, bytes, bytes]:
    """Key ARN, encrypted data key, sealed key. Raises `UnwrapFailed`."""
    try:
        arn, encrypted, sealed = decode(wrapped[1:], 3)
        return arn.decode(), encrypted, sealed
    except ValueError:
        raise UnwrapFailed(_ALTERED) from None


def _refused(error: aws.AwsError, operation: str, key: str) -> Exception:
    where = f"{_SETTING}: AWS KMS, key {key}"
    if error.kind == "unavailable":
        return KeyServiceUnavailable(f"{where}: {error}")
    if error.kind == "denied":
        gone = "" if operation == "GenerateDataKey" else ", or the key is not there any more"
        return KeyEncryptionKeyError(
            f"{where}: kms:{operation} is not allowed{gone} — allow it, in the policies of role and key"
        )
    if error.code in _STATES:
        problem, mend = _STATES[error.code]
        return KeyEncryptionKeyError(f"{where}: {problem} — {mend}")
    return KeyEncryptionKeyError(f"{where}: kms:{operation}: {error}")


class _Held:
    """Opened data keys by their encrypted form, in memory only, none used after `HELD_SECONDS`."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._keys: dict[bytes, tuple[float, bytes]] = {}  # in the order in which they were opened

    def get(self, encrypted: bytes) -> bytes | None:
        with self._lock:
            self._drop(HELD_KEYS)
            found = self._keys.get(encrypted)
            return found[1] if found else None

    def put(self, encrypted: bytes, data_key: bytes) -> None:
        with self._lock:
            self._drop(HELD_KEYS - 1)
            self._keys.pop(encrypted, None)
            self._keys[encrypted] = self._clock() + HELD_SECONDS, data_key

    def _drop(self, most: int) -> None:
        now = self._clock()
        while self._keys:
            oldest = next(iter(self._keys))
            if len(self._keys) <= most and self._keys[oldest][0] > now:
                return
            del self._keys[oldest]
