"""A fresh key store per test: on SQLite, and on PostgreSQL where there is one."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import make_url

from pii_pipeline.database import connect
from pii_pipeline.keys.key_encryption import FileKey, KeyEncryptionKey
from pii_pipeline.keys.store import KeyStore


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/state/pii.db"
        return
    server = request.getfixturevalue("postgres_url")
    name = f"keys_{secrets.token_hex(6)}"
    admin = connect(server).execution_options(isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    try:
        yield make_url(server).set(database=name).render_as_string(hide_password=False)
    finally:
        with admin.connect() as connection:
            connection.exec_driver_sql(f"DROP DATABASE {name} WITH (FORCE)")
        admin.dispose()


@pytest.fixture
def kek(tmp_path: Path) -> KeyEncryptionKey:
    return FileKey(tmp_path / "state" / "key-encryption.key")


@pytest.fixture
def store(database_url: str, kek: KeyEncryptionKey) -> Iterator[KeyStore]:
    engine = connect(database_url)
    yield KeyStore(engine, kek)
    engine.dispose()
