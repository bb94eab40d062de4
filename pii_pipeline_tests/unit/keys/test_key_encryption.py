from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pii_pipeline.keys.errors import KeyEncryptionKeyError, UnwrapFailed
from pii_pipeline.keys.key_encryption import FileKey, open_key_encryption_key

CONTEXT = {"purpose": "window", "stream": "webshop"}


def test_made_on_first_use_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "kek"
    wrapped = open_key_encryption_key(f"file:{path}").wrap(b"k" * 32, CONTEXT)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert [file.name for file in path.parent.iterdir()] == ["kek"]
    assert open_key_encryption_key(f"file://{path}").unwrap(wrapped, CONTEXT) == b"k" * 32


def test_of_those_who_race_all_get_one_key(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as threads:
        made = list(threads.map(lambda _: FileKey(tmp_path / "kek").wrap(b"k" * 32, CONTEXT), range(8)))
    assert len(set(made)) == 1
    assert [file.name for file in tmp_path.iterdir()] == ["kek"]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_file_others_can_read_is_refused_with_the_mend(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "kek"
    FileKey(path)
    path.chmod(mode)
    with pytest.raises(KeyEncryptionKeyError, match=f"chmod 600 {path}"):
        FileKey(path)


@pytest.mark.parametrize("content", ["", "canary", "pii-key-encryption-key-1:AAAA"])
def test_a_file_without_a_key_is_refused_not_replaced(tmp_path: Path, content: str) -> None:
    path = tmp_path / "kek"
    path.write_text(content)
    path.chmod(0o600)
    with pytest.raises(KeyEncryptionKeyError, match="holds no key-encryption key") as caught:
        FileKey(path)
    assert path.read_text() == content
    assert "canary" not in str(caught.value)


def test_a_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(KeyEncryptionKeyError, match="no file"):
        FileKey(tmp_path)


@pytest.mark.parametrize("uri", ["gcp-kms://pii", "var/kek", "file:", ""])
def test_other_providers_are_refused_naming_what_is_supported(uri: str) -> None:
    with pytest.raises(KeyEncryptionKeyError, match="file:PATH"):
        open_key_encryption_key(uri)


def test_wrapped_keys_open_in_their_context_only(tmp_path: Path) -> None:
    kek = FileKey(tmp_path / "kek")
    wrapped = kek.wrap(b"k" * 64, CONTEXT)
    assert kek.unwrap(wrapped, dict(reversed(CONTEXT.items()))) == b"k" * 64
    others = [{}, {**CONTEXT, "stream": "logins"}, {"purpose": "windowstream", "webshop": ""}]
    for context in others:
        with pytest.raises(UnwrapFailed):
            kek.unwrap(wrapped, context)
    for damaged in (
        b"",
        b"\x01",
        b"\x02" + wrapped[1:],
        wrapped[:-1],
        wrapped[:-1] + bytes((wrapped[-1] ^ 1,)),
    ):
        with pytest.raises(UnwrapFailed):
            kek.unwrap(damaged, CONTEXT)
    with pytest.raises(UnwrapFailed, match="PII_KEY_ENCRYPTION_KEY"):
        FileKey(tmp_path / "other").unwrap(wrapped, CONTEXT)
