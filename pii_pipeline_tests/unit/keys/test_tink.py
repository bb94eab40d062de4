"""Ours opened by Google's tink package, and the reverse."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pii_pipeline.keys import siv
from pii_pipeline.keys.errors import CannotOpen, InvalidKeyset
from pii_pipeline.keys.tink import TinkKey, export_keyset, import_keyset

tink = pytest.importorskip("tink")
from tink import cleartext_keyset_handle, daead, secret_key_access  # noqa: E402

KEY, OTHER = bytes(range(64)), bytes(range(1, 65))
KEY_ID = 0xFEDCBA98


@pytest.fixture(scope="module", autouse=True)
def registered() -> None:
    daead.register()


def primitive(keyset: str) -> Any:
    handle = tink.json_proto_keyset_format.parse(keyset, secret_key_access.TOKEN)
    return handle.primitive(daead.DeterministicAead)


@pytest.mark.parametrize("associated_data", [b"", b"acme/click\x00email"], ids=["empty", "bound"])
@pytest.mark.parametrize("length", [0, 5, 8, 1000])
def test_byte_identical_to_tink_both_ways(length: int, associated_data: bytes) -> None:
    theirs = primitive(export_keyset([TinkKey(KEY_ID, KEY)]))
    plaintext = bytes(i % 251 for i in range(length))
    ours = siv.encrypt(KEY, KEY_ID, plaintext, associated_data)
    assert len(ours) == length + siv.OVERHEAD_BYTES
    assert theirs.encrypt_deterministically(plaintext, associated_data) == ours
    assert theirs.decrypt_deterministically(ours, associated_data) == plaintext
    assert siv.decrypt(KEY, KEY_ID, ours, associated_data) == plaintext


def test_a_moved_column_opens_neither_here_nor_there() -> None:
    sealed = siv.encrypt(KEY, KEY_ID, b"ann@example.com", b"acme/click email")
    with pytest.raises(CannotOpen):
        siv.decrypt(KEY, KEY_ID, sealed, b"acme/click notes")
    with pytest.raises(tink.TinkError):
        primitive(export_keyset([TinkKey(KEY_ID, KEY)])).decrypt_deterministically(
            sealed, b"acme/click notes"
        )


def test_a_keyset_made_by_tink_is_taken_in() -> None:
    handle = tink.new_keyset_handle(daead.deterministic_aead_key_templates.AES256_SIV)
    keyset = tink.json_proto_keyset_format.serialize(handle, secret_key_access.TOKEN)
    (key,) = import_keyset(keyset)
    sealed = handle.primitive(daead.DeterministicAead).encrypt_deterministically(b"hello", b"x")
    assert siv.decrypt(key.key, key.key_id, sealed, b"x") == b"hello"


def test_what_we_export_is_the_keyset_tink_writes() -> None:
    keyset = export_keyset([TinkKey(KEY_ID, KEY), TinkKey(7, OTHER)])
    handle = cleartext_keyset_handle.read(tink.JsonKeysetReader(keyset))
    theirs = tink.json_proto_keyset_format.serialize(handle, secret_key_access.TOKEN)
    assert json.loads(theirs) == json.loads(keyset)
    assert import_keyset(theirs) == [TinkKey(KEY_ID, KEY), TinkKey(7, OTHER)]
    assert primitive(keyset).decrypt_deterministically(siv.encrypt(OTHER, 7, b"x", b""), b"") == b"x"


def test_the_primary_key_comes_first_and_disabled_ones_not_at_all() -> None:
    keyset = json.loads(export_keyset([TinkKey(1, KEY), TinkKey(2, OTHER)]))
    keyset["primaryKeyId"] = 2
    assert [key.key_id for key in import_keyset(json.dumps(keyset))] == [2, 1]
    keyset["key"][0]["status"] = "DISABLED"
    assert [key.key_id for key in import_keyset(json.dumps(keyset))] == [2]
    keyset["key"][1]["status"] = "DISABLED"
    with pytest.raises(InvalidKeyset, match="primary"):
        import_keyset(json.dumps(keyset))


@pytest.mark.parametrize(
    ("change", "mend"),
    [
        (("keyData", {"typeUrl": "other", "value": "canary"}), "type"),
        (("outputPrefixType", "RAW"), "prefix"),
        (("keyId", 2**32), "32-bit"),
        (
            ("keyData", {"typeUrl": "type.googleapis.com/google.crypto.tink.AesSivKey", "value": "can*ary"}),
            "base64",
        ),
        (
            ("keyData", {"typeUrl": "type.googleapis.com/google.crypto.tink.AesSivKey", "value": "EkA="}),
            "64 bytes",
        ),
        (("keyData", None), "keyset"),
    ],
)
def test_other_keysets_are_refused_without_quoting_them(change: tuple[str, object], mend: str) -> None:
    keyset = json.loads(export_keyset([TinkKey(1, KEY)]))
    keyset["key"][0][change[0]] = change[1]
    with pytest.raises(InvalidKeyset, match=mend) as caught:
        import_keyset(json.dumps(keyset))
    assert "ary" not in str(caught.value)


@pytest.mark.parametrize("change", [0, 3, 10, -1])
def test_altered_ciphertexts_do_not_open(change: int) -> None:
    sealed = bytearray(siv.encrypt(KEY, KEY_ID, b"hello", b""))
    sealed[change] ^= 1
    with pytest.raises(CannotOpen):
        siv.decrypt(KEY, KEY_ID, bytes(sealed), b"")


@pytest.mark.parametrize("short", [b"", b"\x01", siv.prefix(KEY_ID), siv.prefix(KEY_ID) + bytes(15)])
def test_truncated_ciphertexts_do_not_open(short: bytes) -> None:
    with pytest.raises(CannotOpen):
        siv.decrypt(KEY, KEY_ID, short, b"")


def test_text_form() -> None:
    assert siv.from_text(siv.to_text(b"\xff\xfe\x00")) == b"\xff\xfe\x00"
    assert siv.to_text(b"\xff\xfe\x00\x01") == "//4AAQ=="
    for text in ("//4AAQ", "__4AAQ==", "//4A AQ==", "ä"):
        with pytest.raises(CannotOpen):
            siv.from_text(text)


def test_keys_are_not_shown() -> None:
    assert "key=" not in repr(TinkKey(1, KEY))
