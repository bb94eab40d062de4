"""AES-SIV keys as Google Tink's cleartext JSON keyset: how a key is handed out, and taken in.

A keyset is key material in clear text: it goes to whoever a consent rule gives the key to, never into the
lake or a log.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from pii_pipeline.keys.derivation import SIV_KEY_BYTES
from pii_pipeline.keys.errors import InvalidKeyset

TYPE_URL = "type.googleapis.com/google.crypto.tink.AesSivKey"
_PROTOBUF_HEAD = b"\x12\x40"  # AesSivKey{key_value = 2: 64 bytes}; version 0 is not written


@dataclass(frozen=True)
class TinkKey:
    """One AES-SIV key (64 bytes) and the id its ciphertexts carry."""

    key_id: int
    key: bytes = field(repr=False)


def export_keyset(keys: Sequence[TinkKey]) -> str:
    """A JSON keyset; the first key is the primary one, with which Tink encrypts."""
    if not keys:
        raise InvalidKeyset("a keyset has at least one key")
    entries = [
        {
            "keyData": {
                "typeUrl": TYPE_URL,
                "value": base64.b64encode(_PROTOBUF_HEAD + key.key).decode("ascii"),
                "keyMaterialType": "SYMMETRIC",
            },
            "status": "ENABLED",
            "keyId": key.key_id,
            "outputPrefixType": "TINK",
        }
        for key in keys
    ]
    return json.dumps({"primaryKeyId": keys[0].key_id, "key": entries})


def import_keyset(text: str) -> list[TinkKey]:
    """The enabled keys, the primary one first. Raises `InvalidKeyset` for what is no such keyset."""
    try:
        keyset = json.loads(text)
        keys = [_import_key(entry) for entry in keyset["key"] if entry.get("status") == "ENABLED"]
        primary = keyset["primaryKeyId"]
    except (ValueError, KeyError, TypeError, AttributeError):
        raise InvalidKeyset("not a cleartext Tink JSON keyset") from None
    keys.sort(key=lambda key: key.key_id != primary)
    if not keys or keys[0].key_id != primary:
        raise InvalidKeyset("the keyset's primary key is missing or disabled")
    return keys


def _import_key(entry: dict[str, Any]) -> TinkKey:
    data, key_id = entry["keyData"], entry["keyId"]
    if data["typeUrl"] != TYPE_URL:
        raise InvalidKeyset(f"the keyset holds a key of another type than {TYPE_URL}")
    if entry["outputPrefixType"] != "TINK":
        raise InvalidKeyset("the keyset holds a key with another output prefix than TINK")
    try:
        value = base64.b64decode(data["value"], validate=True)
    except binascii.Error:
        raise InvalidKeyset("the keyset holds a key whose value is not base64") from None
    if value[:2] != _PROTOBUF_HEAD or len(value) != 2 + SIV_KEY_BYTES:
        raise InvalidKeyset("the keyset holds a key that is not an AES-SIV key of 64 bytes")
    if not isinstance(key_id, int) or not 0 <= key_id < 2**32:
        raise InvalidKeyset("the keyset holds a key whose id is not a 32-bit number")
    return TinkKey(key_id, value[2:])
