from __future__ import annotations

import hashlib
import hmac
import uuid
from datetime import date
from typing import get_args

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import given
from hypothesis import strategies as st

from pii_pipeline.contracts.treatments import HashFunction, Pseudonymize
from pii_pipeline.keys import derivation as d
from pii_pipeline.keys.errors import InvalidIdentifier

# RFC 5869, appendix A.1–A.3 (SHA-256): key, salt, info, length, PRK, OKM.
RFC_5869 = [
    (
        "0b" * 22,
        "000102030405060708090a0b0c",
        "f0f1f2f3f4f5f6f7f8f9",
        42,
        "077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5",
        "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865",
    ),
    (
        bytes(range(0x00, 0x50)).hex(),
        bytes(range(0x60, 0xB0)).hex(),
        bytes(range(0xB0, 0x100)).hex(),
        82,
        "06a6b88c5853361a06104c9ceb35b45cef760014904671014a193f40c15fc244",
        "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c59045a99cac7827271cb41c65e590e09"
        "da3275600c2f09b8367793a9aca3db71cc30c58179ec3e87c14c01d5c1f3434f1d87",
    ),
    (
        "0b" * 22,
        "",
        "",
        42,
        "19ef24a32c717b167f33a91d6f648bdf96596776afdb6377ac434c1c293ccb04",
        "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8",
    ),
]

# RFC 4231, test cases 1, 2 and 6 (a key longer than the block): key, message, HMAC-SHA256.
RFC_4231 = [
    (b"\x0b" * 20, b"Hi There", "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"),
    (
        b"Jefe",
        b"what do ya want for nothing?",
        "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
    ),
    (
        b"\xaa" * 131,
        b"Test Using Larger Than Block-Size Key - Hash Key First",
        "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
    ),
]

WINDOW, SALT = bytes(range(32)), bytes(range(32, 64))
DAY = date(2026, 11, 22)


@given(st.lists(st.binary(max_size=40), max_size=4))
def test_what_was_encoded_comes_out_in_its_parts(parts: list[bytes]) -> None:
    encoded = d.encode(*parts)
    assert d.decode(encoded, len(parts)) == parts
    for other in (encoded[:-1], encoded + b"\0", b"\x02" + encoded[1:]):
        with pytest.raises(ValueError):
            d.decode(other, len(parts))
    with pytest.raises(ValueError):
        d.decode(encoded, len(parts) + 1)


@pytest.mark.parametrize(("key", "salt", "info", "length", "prk", "okm"), RFC_5869)
def test_hkdf_is_rfc_5869(key: str, salt: str, info: str, length: int, prk: str, okm: str) -> None:
    extracted = d.hkdf_extract("sha256", bytes.fromhex(salt), bytes.fromhex(key))
    assert extracted.hex() == prk
    assert d.hkdf_expand("sha256", extracted, bytes.fromhex(info), length).hex() == okm


@given(key=st.binary(), salt=st.binary(max_size=200), info=st.binary(), length=st.integers(1, 300))
def test_hkdf_sha512_equals_a_second_implementation(
    key: bytes, salt: bytes, info: bytes, length: int
) -> None:
    other = HKDF(algorithm=hashes.SHA512(), length=length, salt=salt or None, info=info).derive(key)
    assert d.hkdf("sha512", key, salt, info, length) == other


@pytest.mark.parametrize(("key", "message", "mac"), RFC_4231)
def test_hmac_is_rfc_4231(key: bytes, message: bytes, mac: str) -> None:
    assert d.hmac_sha256(key, message).hex() == mac
    assert [result.hex() for result in d.hmac_sha256_many(key, [message, message])] == [mac, mac]


@given(key=st.binary(max_size=200), messages=st.lists(st.binary()))
def test_bulk_hmac_equals_the_standard_library(key: bytes, messages: list[bytes]) -> None:
    assert d.hmac_sha256_many(key, messages) == [hmac.digest(key, m, "sha256") for m in messages]


@given(st.lists(st.binary(max_size=6), max_size=4), st.lists(st.binary(max_size=6), max_size=4))
def test_encoding_is_injective(left: list[bytes], right: list[bytes]) -> None:
    assert (d.encode(*left) == d.encode(*right)) == (left == right)


def test_canonical_id() -> None:
    assert d.canonical_id(42) == d.canonical_id("42") == b"42"
    assert d.canonical_id("042") != d.canonical_id(42)
    assert d.canonical_id("Zoe\u0308") == d.canonical_id("Zo\u00eb") == "Zo\u00eb".encode()


@pytest.mark.parametrize("value", [True, 4.2, None, "x\ud800y"])
def test_ids_of_other_kinds_are_refused_without_quoting_them(value: object) -> None:
    with pytest.raises(InvalidIdentifier) as caught:
        d.canonical_id(value)  # pyright: ignore[reportArgumentType]
    assert caught.value.__cause__ is None and caught.value.__suppress_context__ is isinstance(value, str)
    assert "x" not in str(caught.value).split()


def test_the_formulas_do_not_change() -> None:
    """What is in a lake was made with these: a changed result here is a broken lake, not a failed test.

    Recomputed from the documented formulas with the cryptography package's HKDF, not with this module.
    """

    def lp(*parts: bytes) -> bytes:
        return b"\x01" + b"".join(len(p).to_bytes(4, "big") + p for p in parts)

    def hkdf(algorithm: hashes.HashAlgorithm, key: bytes, salt: bytes | None, info: bytes, n: int) -> bytes:
        return HKDF(algorithm=algorithm, length=n, salt=salt, info=info).derive(key)

    sha256, sha512 = hashes.SHA256(), hashes.SHA512()
    ref = b"r" * 16
    assert d.subject_tags(WINDOW, "customer", [b"42"])[0] == hmac.digest(
        WINDOW, lp(b"subject", b"customer", b"42"), "sha256"
    )
    assert d.anonymous_subject_tags(WINDOW, "webshop", DAY, [b"s1"])[0] == hmac.digest(
        WINDOW, lp(b"anonymous", b"webshop", b"2026-11-22", b"s1"), "sha256"
    )
    link = d.key_links(WINDOW, [b"session"], [ref])[0]
    mac = hmac.digest(hkdf(sha256, WINDOW, None, lp(b"link"), 32), lp(b"session", ref), "sha256")
    bits = int.from_bytes(mac[:16], "big")
    assert uuid.UUID(bytes=link).version == 8 and uuid.UUID(bytes=link).variant == uuid.RFC_4122
    free = ~((0xF << 76) | (0x3 << 62))  # all bits but version and variant
    assert int.from_bytes(link, "big") & free == bits & free
    assert d.subject_token_key(WINDOW) == hkdf(sha512, WINDOW, None, lp(b"subject"), 64)
    assert d.data_keys(WINDOW, SALT)(d.data_key_infos("webshop", 2, [link])[0]) == hkdf(
        sha512, WINDOW, SALT, lp(b"webshop", link, b"\0\0\0\x02"), 64
    )
    key = hkdf(sha256, b"secret", SALT, lp(b"subject-bound", b"user"), 32)
    (pseudonym,) = d.bound_pseudonyms("user", [d.pseudonym_root(b"secret", SALT)], [b"42"])
    assert pseudonym == hmac.digest(key, b"42", "sha256")
    assert d.joinable_pseudonym_key(b"secret", "ip") == hkdf(
        sha256, b"secret", None, lp(b"joinable", b"ip"), 32
    )
    assert d.dataset_pseudonym_key(b"secret", "a/b") == hkdf(
        sha256, b"secret", None, lp(b"dataset pseudonym", b"a/b"), 32
    )
    assert d.dataset_ciphertext_key(b"secret", "a/b") == hkdf(
        sha512, b"secret", None, lp(b"dataset ciphertext", b"a/b"), 64
    )


def test_salted_hashes_are_snowplows() -> None:
    """The salt behind the value, no HMAC; the digest of john@acme.com and pepper123 is a published one."""
    assert d.salted_hashes("SHA-256", b"pepper123", [b"john@acme.com", b""]) == [
        bytes.fromhex("7d8a4beae5bc9d314600667d2f410918f9af265017a6ade99f60a9c8f3aac6e9"),
        hashlib.sha256(b"pepper123").digest(),
    ]
    lengths = {
        function: len(d.salted_hashes(function, b"s", ["ä".encode()])[0])
        for function in get_args(HashFunction)
    }
    assert lengths == {"MD5": 16, "SHA-1": 20, "SHA-256": 32, "SHA-384": 48, "SHA-512": 64}
    assert d.salted_hashes("SHA-1", b"s", [b"v"])[0] == hashlib.sha1(b"vs").digest()
    assert lengths == {name: Pseudonymize(hash=name).digest_bytes for name in get_args(HashFunction)}


def test_what_must_differ_differs() -> None:
    tags = {
        d.subject_tags(WINDOW, "customer", [b"42"])[0],
        d.subject_tags(WINDOW, "employee", [b"42"])[0],
        d.subject_tags(SALT, "customer", [b"42"])[0],
        d.anonymous_subject_tags(WINDOW, "customer", DAY, [b"42"])[0],
        d.anonymous_subject_tags(WINDOW, "customer", date(2026, 11, 23), [b"42"])[0],
    }
    assert len(tags) == 5
    links = {
        d.key_links(WINDOW, [b"s"], [b"r" * 16])[0],
        d.key_links(SALT, [b"s"], [b"r" * 16])[0],
        d.key_links(WINDOW, [b"s"], [b"q" * 16])[0],
        d.key_links(WINDOW, [b"t"], [b"r" * 16])[0],
    }
    assert len(links) == 4


def test_tink_key_ids_wrap_around() -> None:
    assert d.tink_key_ids([b"\x00\x00\x00\x05" + bytes(12), b"\xff" * 16], 2).tolist() == [7, 1]
