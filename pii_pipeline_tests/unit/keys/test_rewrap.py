"""The way over from one key-encryption key to another."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from pii_pipeline.database import reading
from pii_pipeline.keys import rewrap as rewrap_module
from pii_pipeline.keys.ages import KEY_FILE, key_encryption_keys
from pii_pipeline.keys.errors import KeyEncryptionKeyError, UnwrapFailed
from pii_pipeline.keys.key_encryption import FileKey, KeyEncryptionKey, open_earlier_key
from pii_pipeline.keys.kms import KmsKey
from pii_pipeline.keys.rewrap import rewrap
from pii_pipeline.keys.store import KeyStore
from pii_pipeline.keys.stored import stored_keys
from pii_pipeline.keys.tables import period_key
from pii_pipeline_tests.faulty_proxy import FaultyProxy
from pii_pipeline_tests.unit.keys.conftest import opened

DAYS = [date(2026, 11, 22), date(2026, 11, 23)]
TAGS = [bytes((number,)) * 32 for number in range(5)]
SINGLETONS = 4  # index, tombstone and vault key; Snowplow's salt
ALL = SINGLETONS + 1 + len(DAYS) + 2 + 1  # secret, windows, quarantine and restricted key, epoch


def everything(store: KeyStore) -> list[object]:
    """All that the store can be asked for."""
    return [
        store.index_key(),
        store.vault_key(),
        store.pseudonym_secret(),
        store.snowplow_salt("pepper123"),
        store.window_keys("webshop", DAYS),
        store.quarantine_key("webshop", DAYS[0]),
        store.restricted_key("webshop", DAYS[0]),
        store.subjects(TAGS),
    ]


def test_from_a_file_to_kms_and_back(
    store: KeyStore, kek: KeyEncryptionKey, database_url: str, aws: Any
) -> None:
    before = everything(store)
    arn = aws.client("kms").create_key()["KeyMetadata"]["Arn"]
    assert rewrap(store._engine, kek, KmsKey(arn), KmsKey(arn)) == ALL
    assert everything(opened(database_url, KmsKey(arn))) == before
    assert key_encryption_keys(store._engine) == {arn: ALL}
    with pytest.raises(UnwrapFailed, match="wrapped under AWS KMS"):
        opened(database_url, kek)

    assert rewrap(store._engine, KmsKey(arn), kek, kek) == ALL
    assert everything(opened(database_url, kek)) == before
    assert key_encryption_keys(store._engine) == {KEY_FILE: ALL}


def test_off_a_kms_key_that_is_to_be_deleted(database_url: str, aws: Any) -> None:
    client = aws.client("kms")
    old, new = (client.create_key()["KeyMetadata"] for _ in range(2))
    client.create_alias(AliasName="alias/pii", TargetKeyId=old["KeyId"])
    store = opened(database_url, KmsKey("alias/pii"))
    before = everything(store)
    client.update_alias(AliasName="alias/pii", TargetKeyId=new["KeyId"])
    store.window_keys("webshop", [date(2026, 11, 24)])
    assert key_encryption_keys(store._engine) == {old["Arn"]: ALL, new["Arn"]: 1}
    rewrap(store._engine, KmsKey("alias/pii"), KmsKey("alias/pii"), KmsKey("alias/pii"))
    assert key_encryption_keys(store._engine) == {new["Arn"]: ALL + 1}
    assert everything(opened(database_url, KmsKey("alias/pii"))) == before


def test_between_two_files(store: KeyStore, kek: KeyEncryptionKey, database_url: str, tmp_path: Path) -> None:
    before = everything(store)
    new = FileKey(tmp_path / "another")
    assert rewrap(store._engine, kek, new, new) == ALL
    assert rewrap(store._engine, kek, new, new) == ALL  # done again it does no harm
    assert everything(opened(database_url, new)) == before


def test_what_was_destroyed_stays_so(store: KeyStore, kek: KeyEncryptionKey, tmp_path: Path) -> None:
    store.window_keys("webshop", DAYS)
    store.expire_window("webshop", DAYS[0])
    new = FileKey(tmp_path / "another")
    rewrap(store._engine, kek, new, new)
    again = KeyStore(store._engine, new)
    assert again.window_keys("webshop", DAYS)[DAYS[0]] is None


def test_a_key_destroyed_meanwhile_does_not_come_back(
    store: KeyStore, kek: KeyEncryptionKey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.window_keys("webshop", DAYS)
    wrapping = rewrap_module._all_wrapped

    def slow(*arguments: Any) -> list[bytes]:
        store.expire_window("webshop", DAYS[0])
        return wrapping(*arguments)

    monkeypatch.setattr(rewrap_module, "_all_wrapped", slow)
    new = FileKey(tmp_path / "another")
    rewrap(store._engine, kek, new, new)
    with reading(store._engine) as connection:
        query = select(period_key.c.day, period_key.c.wrapped)
        rows = {row.day: row.wrapped for row in connection.execute(query)}
    assert rows[DAYS[0]] is None and rows[DAYS[1]] is not None


def test_a_key_made_meanwhile_is_brought_over_too(
    store: KeyStore, kek: KeyEncryptionKey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrapping = rewrap_module._all_wrapped
    made: dict[date, bytes | None] = {}

    def slow(*arguments: Any) -> list[bytes]:
        if not made:
            made.update(store.window_keys("webshop", DAYS))
        return wrapping(*arguments)

    monkeypatch.setattr(rewrap_module, "_all_wrapped", slow)
    new = FileKey(tmp_path / "another")
    assert rewrap(store._engine, kek, new, new) == 3 + len(DAYS)
    assert KeyStore(store._engine, new).window_keys("webshop", DAYS) == made


@pytest.mark.parametrize("operation", ["GenerateDataKey", "Decrypt"])
def test_nothing_is_changed_unless_every_key_opens_again(
    store: KeyStore,
    kek: KeyEncryptionKey,
    faulty_aws: FaultyProxy,
    aws: Any,
    operation: str,
    database_url: str,
) -> None:
    """A role that may only wrap would lock everything away, with the old key about to be deleted."""
    before = everything(store)
    with reading(store._engine) as connection:
        stored = stored_keys(connection)
    arn = aws.client("kms").create_key()["KeyMetadata"]["Arn"]
    faulty_aws.fail("AccessDeniedException", operation=operation, after=ALL - 1)
    with pytest.raises(KeyEncryptionKeyError, match=f"kms:{operation} is not allowed"):
        rewrap(store._engine, kek, KmsKey(arn), KmsKey(arn))
    with reading(store._engine) as connection:
        assert stored_keys(connection) == stored
    assert everything(opened(database_url, kek)) == before


def test_kms_that_refuses_to_open_is_what_is_said(
    database_url: str, faulty_aws: FaultyProxy, aws: Any, tmp_path: Path
) -> None:
    arn = aws.client("kms").create_key()["KeyMetadata"]["Arn"]
    store = opened(database_url, KmsKey(arn))
    faulty_aws.fail("AccessDeniedException", operation="Decrypt")
    file = FileKey(tmp_path / "another")
    with pytest.raises(KeyEncryptionKeyError, match="kms:Decrypt is not allowed"):
        rewrap(store._engine, KmsKey(arn), file, file)


def test_neither_key_opens_it(store: KeyStore, tmp_path: Path) -> None:
    with reading(store._engine) as connection:
        stored = stored_keys(connection)
    one, other = FileKey(tmp_path / "one"), FileKey(tmp_path / "other")
    with pytest.raises(UnwrapFailed):
        rewrap(store._engine, one, other, other)
    with reading(store._engine) as connection:
        assert stored_keys(connection) == stored


def test_a_misspelt_earlier_file_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(KeyEncryptionKeyError, match="is not there; name the file"):
        open_earlier_key(f"file:{tmp_path / 'typo'}")
    assert not list(tmp_path.iterdir())
