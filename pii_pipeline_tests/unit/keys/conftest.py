"""A fresh key store per test: on SQLite, and on PostgreSQL where there is one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pii_pipeline.database import connect, upgrade
from pii_pipeline.keys.key_encryption import FileKey, KeyEncryptionKey
from pii_pipeline.keys.store import KeyStore


@pytest.fixture
def kek(tmp_path: Path) -> KeyEncryptionKey:
    return FileKey(tmp_path / "state" / "key-encryption.key")


def opened(url: str, kek: KeyEncryptionKey) -> KeyStore:
    """The store of a database, which gets its tables if it has none."""
    engine = connect(url)
    upgrade(engine)
    return KeyStore(engine, kek)


@pytest.fixture
def store(database_url: str, kek: KeyEncryptionKey) -> Iterator[KeyStore]:
    engine = connect(database_url)
    upgrade(engine)
    yield KeyStore(engine, kek)
    engine.dispose()
