"""Every formula of the key hierarchy, as pure functions. Nothing here is random, nothing knows the time.

``encode(a, b, …) = 0x01 ‖ len(a) ‖ a ‖ len(b) ‖ b …`` (lengths as 4 bytes, big-endian) goes into every MAC
and derivation, so that no two inputs collide; 0x01 is the version of all formulas below. Its first part is a
label where one key serves several purposes.

=====================  =====================================================================================
subject tag            HMAC-SHA256(index key, encode("subject", namespace, canonical id))
anonymous subject tag  HMAC-SHA256(index key, encode("anonymous", stream, day as ISO text, key field value))
link key               HKDF-SHA256(window key, info = encode("link")), 32 bytes
key link               UUIDv8 of HMAC-SHA256(link key, encode(key field value, subject ref))
subject token key      HKDF-SHA512(window key, info = encode("subject")), 64 bytes
data key               HKDF-SHA512(window key, salt = subject salt, info = encode(stream, key link, level)),
                       64 bytes; level as 4 bytes, big-endian
pseudonym key          HKDF-SHA256(secret, salt = subject salt, info = encode("subject-bound", domain))
… joinable             HKDF-SHA256(secret, info = encode("joinable", domain)), 32 bytes both
dataset keys           HKDF of the secret, info = encode("dataset pseudonym" | "dataset ciphertext", dataset)
vault record key       HKDF-SHA512(vault key, salt = subject salt, info = encode("vault record")), 64 bytes;
                       of nobody named: HKDF-SHA512(vault key, info = encode("vault unbound record"))
vault record           0x01 ‖ AES-256-SIV(vault record key, original as UTF-8, associated data =
                       [encode(stream, field, pseudonym), subject ref or empty])
vault mark             HMAC-SHA256(HKDF-SHA256(index key, info = encode("vault mark")), original as UTF-8)
vault consent key      HKDF-SHA256(vault key, info = encode("vault consent")), 32 bytes
vault consent seal     HMAC-SHA256(vault consent key, encode(subject ref, stream, levels as "1,3", "1" or "0":
                       whether they are cumulative, time in UTC as ISO text with microseconds))
vault audit key        HKDF-SHA256(vault key, info = encode("vault audit")), 32 bytes
Snowplow's hash        MD5, SHA-1, SHA-256, SHA-384 or SHA-512 of value ‖ salt: no formula of ours
=====================  =====================================================================================

Speed (measured on a 2-core machine): HMAC-SHA256 costs 1.6 µs with `hmac.digest`, 1.4 with `cryptography`'s
HMAC; of many messages under one key, 1.0 a message with a copied `hmac.HMAC`, 0.5 with a copied one of
`cryptography`. HMAC written out of two hashes would be a little faster still, and a primitive of our own.
"""

from __future__ import annotations

import hashlib
import hmac
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date
from typing import Literal

import numpy as np
from cryptography.hazmat.primitives.hashes import SHA256, SHA512
from cryptography.hazmat.primitives.hmac import HMAC
from numpy.typing import NDArray

from pii_pipeline.keys.errors import InvalidIdentifier

VERSION = b"\x01"
WINDOW_KEY_BYTES = 32
SALT_BYTES = 32
REF_BYTES = 16
SIV_KEY_BYTES = 64
"""AES-256-SIV takes two AES-256 keys."""

_SHA256, _SHA512 = SHA256(), SHA512()
_HASHES = {
    "MD5": hashlib.md5,
    "SHA-1": hashlib.sha1,
    "SHA-256": hashlib.sha256,
    "SHA-384": hashlib.sha384,
    "SHA-512": hashlib.sha512,
}
_UUID_VERSION = [bytes((byte & 0x0F | 0x80,)) for byte in range(256)]
_UUID_VARIANT = [bytes((byte & 0x3F | 0x80,)) for byte in range(256)]


def encode(*parts: bytes) -> bytes:
    """Version byte, then each part behind its length: injective."""
    return VERSION + b"".join([len(part).to_bytes(4, "big") + part for part in parts])


def decode(encoded: bytes, count: int) -> list[bytes]:
    """The `count` parts of what `encode` made. Raises `ValueError` for anything else."""
    parts: list[bytes] = []
    at = len(VERSION)
    while at < len(encoded):
        start = at + 4
        at = start + int.from_bytes(encoded[at:start], "big")
        parts.append(encoded[start:at])
    if encoded[: len(VERSION)] != VERSION or len(parts) != count or at != len(encoded):
        raise ValueError("not what was encoded")
    return parts


def canonical_context(context: Mapping[str, str]) -> bytes:
    """What a wrapped key is for, as associated data."""
    return encode(*(text.encode() for item in sorted(context.items()) for text in item))


def canonical_id(value: int | str) -> bytes:
    """A person's id as bytes: integers as decimal text, strings in NFC, both UTF-8 (42 and "42" are one).

    Raises `InvalidIdentifier` for anything else: a boolean, a float, a lone surrogate.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value).encode()
    if not isinstance(value, str):
        raise InvalidIdentifier("a subject's id is an integer or a string")
    try:
        return unicodedata.normalize("NFC", value).encode()
    except UnicodeEncodeError:
        raise InvalidIdentifier("a subject's id is not valid Unicode") from None


def hmac_sha256_many(key: bytes, messages: Iterable[bytes]) -> list[bytes]:
    """HMAC-SHA256 of every message under one key, 32 bytes each."""
    keyed = HMAC(key, _SHA256).copy
    macs = []
    for message in messages:
        mac = keyed()
        mac.update(message)
        macs.append(mac.finalize())
    return macs


def hmac_sha256(key: bytes, message: bytes) -> bytes:
    """One HMAC-SHA256 (RFC 2104), 32 bytes."""
    mac = HMAC(key, _SHA256)
    mac.update(message)
    return mac.finalize()


def hkdf_extract(algorithm: Literal["sha256", "sha512"], salt: bytes, key: bytes) -> bytes:
    """RFC 5869, 2.2. An empty salt stands for a string of zeros."""
    return hmac.digest(salt, key, algorithm)


def hkdf_expand(algorithm: Literal["sha256", "sha512"], prk: bytes, info: bytes, length: int) -> bytes:
    """RFC 5869, 2.3: at most 255 hashes long."""
    block = output = b""
    number = 0
    while len(output) < length:
        number += 1
        block = hmac.digest(prk, block + info + bytes((number,)), algorithm)
        output += block
    return output[:length]


def hkdf(algorithm: Literal["sha256", "sha512"], key: bytes, salt: bytes, info: bytes, length: int) -> bytes:
    """Extract, then expand."""
    return hkdf_expand(algorithm, hkdf_extract(algorithm, salt, key), info, length)


def subject_tags(index_key: bytes, namespace: str, ids: Iterable[bytes]) -> list[bytes]:
    """The tags (32 bytes) under which the store knows these people; `ids` from `canonical_id`."""
    prefix = encode(b"subject", namespace.encode())
    return hmac_sha256_many(index_key, [prefix + len(value).to_bytes(4, "big") + value for value in ids])


def anonymous_subject_tags(
    index_key: bytes, stream: str, day: date, key_values: Iterable[bytes]
) -> list[bytes]:
    """The tags (32 bytes) of those nobody knows yet: the key field's value within one window stands in."""
    prefix = encode(b"anonymous", stream.encode(), day.isoformat().encode())
    return hmac_sha256_many(
        index_key, [prefix + len(value).to_bytes(4, "big") + value for value in key_values]
    )


def key_links(window_key: bytes, key_values: Sequence[bytes], refs: Sequence[bytes]) -> list[bytes]:
    """The key link (16 bytes, a UUIDv8) of each pair of key field value and subject ref."""
    link_key = hkdf("sha256", window_key, b"", encode(b"link"), 32)
    ref_length = REF_BYTES.to_bytes(4, "big")
    macs = hmac_sha256_many(
        link_key,
        [
            VERSION + len(value).to_bytes(4, "big") + value + ref_length + ref
            for value, ref in zip(key_values, refs, strict=True)
        ],
    )
    return [m[:6] + _UUID_VERSION[m[6]] + m[7:8] + _UUID_VARIANT[m[8]] + m[9:16] for m in macs]


def subject_token_key(window_key: bytes) -> bytes:
    """The AES-SIV key (64 bytes) of a window's subject tokens."""
    return hkdf("sha512", window_key, b"", encode(b"subject"), SIV_KEY_BYTES)


def data_keys(window_key: bytes, salt: bytes) -> Callable[[bytes], bytes]:
    """A function from an info of `data_key_infos` to a data key (64 bytes) of one person in one window.

    HKDF's extract step is done here, the expand step there: a single block, with the key made ready once.
    """
    ready = HMAC(hmac.digest(salt, window_key, "sha512"), _SHA512).copy

    def expand(info: bytes) -> bytes:
        mac = ready()
        mac.update(info)
        return mac.finalize()

    return expand


def data_key_infos(stream: str, level: int, key_links: Iterable[bytes]) -> list[bytes]:
    """What the data keys of `level` of these key links (16 bytes each) are expanded with."""
    head = encode(stream.encode()) + REF_BYTES.to_bytes(4, "big")
    tail = encode(level.to_bytes(4, "big"))[len(VERSION) :] + b"\x01"
    return [head + link + tail for link in key_links]


def tink_key_ids(key_links: Sequence[bytes], level: int) -> NDArray[np.uint32]:
    """The id each data key goes by in Tink's wire format: neighbouring levels of a link never share one."""
    first = np.frombuffer(b"".join([link[:4] for link in key_links]), ">u4")
    return first.astype(np.uint32) + np.uint32(level)


def pseudonym_root(secret: bytes, salt: bytes) -> bytes:
    """What a person's pseudonym keys are expanded from (32 bytes): the extract step. Gone with the salt."""
    return hmac_sha256(salt, secret)


def bound_pseudonyms(domain: str, roots: Iterable[bytes], values: Iterable[bytes]) -> list[bytes]:
    """The pseudonym (32 bytes) of each value, bound to the person whose root goes with it.

    HMAC-SHA256(HKDF's expand step of the root, a single block; value). The key of a person is made once for
    all values that come one after the other.
    """
    info = encode(b"subject-bound", domain.encode()) + b"\x01"
    pseudonyms: list[bytes] = []
    last, keyed = None, HMAC(b"", _SHA256).copy
    for root, value in zip(roots, values, strict=True):
        if root != last:
            last, keyed = root, HMAC(hmac_sha256(root, info), _SHA256).copy
        mac = keyed()
        mac.update(value)
        pseudonyms.append(mac.finalize())
    return pseudonyms


def joinable_pseudonym_key(secret: bytes, domain: str) -> bytes:
    """The HMAC key (32 bytes) of pseudonyms that are the same across people."""
    return hkdf("sha256", secret, b"", encode(b"joinable", domain.encode()), 32)


def salted_hashes(function: str, salt: bytes, values: Iterable[bytes]) -> list[bytes]:
    """The hash of each value with the salt behind it, as Snowplow's PII enrichment makes it.

    `function` is a name such as SHA-256. Also MD5 and SHA-1: whoever migrates has to get what is there.
    """
    digest = _HASHES[function]
    return [digest(value + salt).digest() for value in values]


def salt_mark(index_key: bytes, salt: bytes) -> str:
    """Tells two salts apart (16 hex digits) and, since it is keyed, helps nobody to guess one."""
    return hmac_sha256(index_key, encode(b"snowplow salt", salt))[:8].hex()


def dataset_pseudonym_key(secret: bytes, dataset: str) -> bytes:
    """The HMAC key (32 bytes) that unlinks a consented dataset's pseudonyms from the lake's."""
    return hkdf("sha256", secret, b"", encode(b"dataset pseudonym", dataset.encode()), 32)


def dataset_ciphertext_key(secret: bytes, dataset: str) -> bytes:
    """The AES-SIV key (64 bytes) around what stays closed in a consented dataset."""
    return hkdf("sha512", secret, b"", encode(b"dataset ciphertext", dataset.encode()), SIV_KEY_BYTES)


def dataset_key_id(dataset: str) -> int:
    """The id a dataset's ciphertexts carry in Tink's format; it only tells datasets apart."""
    return int.from_bytes(hashlib.sha256(encode(b"dataset", dataset.encode())).digest()[:4], "big")


def vault_record_key(vault_key: bytes, salt: bytes) -> bytes:
    """The AES-SIV key (64 bytes) of a person's records in the vault; without a salt, of those that name
    nobody. Gone with the salt."""
    label = b"vault record" if salt else b"vault unbound record"
    return hkdf("sha512", vault_key, salt, encode(label), SIV_KEY_BYTES)


def vault_mark_key(index_key: bytes) -> bytes:
    """The HMAC key (32 bytes) of the blind index over originals that name nobody."""
    return hkdf("sha256", index_key, b"", encode(b"vault mark"), 32)


def vault_consent_key(vault_key: bytes) -> bytes:
    """The HMAC key (32 bytes) by which the vault's consents are sealed."""
    return hkdf("sha256", vault_key, b"", encode(b"vault consent"), 32)


def vault_audit_key(vault_key: bytes) -> bytes:
    """The HMAC key (32 bytes) by which the vault's audit log is sealed."""
    return hkdf("sha256", vault_key, b"", encode(b"vault audit"), 32)


def key_check_value(secret: bytes) -> bytes:
    """Tells two secrets apart without holding either (16 bytes)."""
    return hkdf("sha256", secret, b"", encode(b"key check"), 16)
