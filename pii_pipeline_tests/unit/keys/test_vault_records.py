"""The vault's ciphers against a second implementation: SIV of RFC 5297, HKDF of the cryptography package."""

from __future__ import annotations

import hmac
from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR
from cryptography.hazmat.primitives.cmac import CMAC
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import given
from hypothesis import strategies as st

from pii_pipeline.keys import derivation
from pii_pipeline.keys.vault_records import Whose, consent_seals, marks, record_names, seal, unseal

VAULT, INDEX = bytes(range(32)), bytes(range(100, 132))
REFS = [b"a" * 16, b"b" * 16, b""]
SALTS = [b"s" * 32, b"t" * 32, b""]


def lp(*parts: bytes) -> bytes:
    return b"\x01" + b"".join(len(part).to_bytes(4, "big") + part for part in parts)


def cmac(key: bytes, data: bytes) -> bytes:
    mac = CMAC(AES(key))
    mac.update(data)
    return mac.finalize()


def doubled(block: bytes) -> bytes:
    number = int.from_bytes(block, "big") << 1
    return ((number & (1 << 128) - 1) ^ (0x87 if number >> 128 else 0)).to_bytes(16, "big")


def xor(left: bytes, right: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(left, right, strict=True))


def siv(key: bytes, plaintext: bytes, associated: list[bytes]) -> bytes:
    """RFC 5297, 2.4 to 2.6."""
    mac_key, ctr_key = key[:32], key[32:]
    d = cmac(mac_key, bytes(16))
    for part in associated:
        d = xor(doubled(d), cmac(mac_key, part))
    if len(plaintext) >= 16:
        last = plaintext[:-16] + xor(plaintext[-16:], d)
    else:
        last = xor(doubled(d), plaintext + b"\x80" + bytes(15 - len(plaintext)))
    v = cmac(mac_key, last)
    q = bytearray(v)
    q[8] &= 0x7F
    q[12] &= 0x7F
    cipher = Cipher(AES(ctr_key), CTR(bytes(q))).encryptor()
    return v + cipher.update(plaintext) + cipher.finalize()


def hkdf(algorithm: hashes.HashAlgorithm, key: bytes, salt: bytes | None, info: bytes, length: int) -> bytes:
    return HKDF(algorithm=algorithm, length=length, salt=salt, info=info).derive(key)


def whose(*subject: int) -> Whose:
    return Whose(np.array(subject, np.int64), REFS, SALTS)


def test_the_second_implementation_is_rfc_5297() -> None:
    """Appendix A.1, with the keys as they are there: AES-128, two of them."""
    key = bytes.fromhex("fffefdfcfbfaf9f8f7f6f5f4f3f2f1f0f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff")
    associated = bytes.fromhex("101112131415161718191a1b1c1d1e1f2021222324252627")
    plaintext = bytes.fromhex("112233445566778899aabbccddee")
    d = xor(doubled(cmac(key[:16], bytes(16))), cmac(key[:16], associated))
    assert cmac(key[:16], xor(doubled(d), plaintext + b"\x80\x00")).hex() == (
        "85632d07c6e8f37f950acd320a2ecc93"
    )


@pytest.mark.parametrize("number", [0, 1, 2])
@pytest.mark.parametrize("original", [b"", b"ann", "Zoë\0".encode(), b"x" * 16, b"long " * 20])
def test_a_record_is_what_the_formulas_say(number: int, original: bytes) -> None:
    name = lp(b"webshop", b"user_id", b"ab12")
    assert record_names("webshop", "user_id", [b"ab12"]) == [name]
    (sealed,) = seal(VAULT, whose(number), [name], [original])
    label = lp(b"vault record") if SALTS[number] else lp(b"vault unbound record")
    key = hkdf(hashes.SHA512(), VAULT, SALTS[number] or None, label, 64)
    assert sealed == b"\x01" + siv(key, original, [name, REFS[number]])
    assert unseal(VAULT, whose(number), [name], [sealed]) == [original]


def test_marks_and_the_audit_key_are_what_the_formulas_say() -> None:
    key = hkdf(hashes.SHA256(), INDEX, None, lp(b"vault mark"), 32)
    decomposed = "Zoe\u0308".encode()  # exact bytes, not NFC
    assert marks(INDEX, [b"ann", decomposed]) == [
        hmac.digest(key, text, "sha256") for text in (b"ann", decomposed)
    ]
    audit = hkdf(hashes.SHA256(), VAULT, None, lp(b"vault audit"), 32)
    assert derivation.vault_audit_key(VAULT) == audit


def test_the_seal_of_a_consent_is_what_the_formulas_say() -> None:
    key = hkdf(hashes.SHA256(), VAULT, None, lp(b"vault consent"), 32)
    at = datetime(2026, 11, 26, 10, tzinfo=UTC)
    said = lp(REFS[0], b"logins", b"1,3,12", b"1", b"2026-11-26T10:00:00.000000+00:00")
    none = lp(REFS[0], b"logins", b"", b"0", b"2026-11-26T10:00:00.000001+00:00")
    assert consent_seals(
        VAULT,
        [
            (REFS[0], "logins", {12, 3, 1}, True, at.astimezone(timezone(timedelta(hours=5)))),
            (REFS[0], "logins", frozenset(), False, at + timedelta(microseconds=1)),
        ],
    ) == [hmac.digest(key, message, "sha256") for message in (said, none)]


def test_the_records_of_a_person_need_not_come_one_after_the_other() -> None:
    subject = (1, 0, 2, 1, 0, 0)
    names = record_names("logins", "ip", [str(number).encode() for number in range(6)])
    originals = [f"10.0.0.{number}".encode() for number in range(6)]
    sealed = seal(VAULT, whose(*subject), names, originals)
    one_by_one = [
        seal(VAULT, whose(number), [name], [original])[0]
        for number, name, original in zip(subject, names, originals, strict=True)
    ]
    assert sealed == one_by_one
    assert unseal(VAULT, whose(*subject), names, sealed) == originals


@given(st.binary(min_size=1, max_size=40), st.integers(0, 10_000))
def test_what_was_altered_does_not_open(original: bytes, bit: int) -> None:
    names = record_names("logins", "ip", [b"00"])
    (sealed,) = seal(VAULT, whose(0), names, [original])
    at = bit % (8 * len(sealed))
    altered = bytearray(sealed)
    altered[at // 8] ^= 1 << at % 8
    assert unseal(VAULT, whose(0, 0, 0), names * 3, [sealed, bytes(altered), sealed]) == [
        original,
        None,
        original,
    ]


def test_a_record_opens_in_its_own_place_alone() -> None:
    names = record_names("logins", "ip", [b"00", b"01"])
    (sealed,) = seal(VAULT, whose(0), names[:1], [b"10.0.0.1"])
    elsewhere = [
        (whose(0), names[1:]),
        (whose(0), record_names("logins", "device_id", [b"00"])),
        (whose(0), record_names("webshop", "ip", [b"00"])),
        (whose(1), names[:1]),
        (whose(2), names[:1]),
        (Whose(np.array([0]), REFS, [b"other salt" + bytes(22)]), names[:1]),
        (Whose(np.array([0]), [b"c" * 16], SALTS), names[:1]),
    ]
    for of, name in elsewhere:
        assert unseal(VAULT, of, name, [sealed]) == [None]
    for broken in (b"", b"\x01", b"\x02" + sealed[1:], sealed[:-1]):
        assert unseal(VAULT, whose(0), names[:1], [broken]) == [None]


def test_what_is_about_whom_is_not_shown() -> None:
    assert "sss" not in repr(whose(0))
