"""Connections: safe among many, private, and silent about values and passwords."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import Column, Connection, Engine, Integer, MetaData, String, Table, insert, select, update
from sqlalchemy.exc import DBAPIError

from pii_pipeline.database import (
    DatabaseError,
    DatabaseUnavailable,
    connect,
    connect_existing,
    durable_later,
    reading,
    scrub,
    unknown_option,
)

METADATA = MetaData()
COUNTER = Table("counter", METADATA, Column("id", Integer, primary_key=True), Column("value", Integer))
NAMES = Table("names", METADATA, Column("name", String(64), primary_key=True))


def create(engine: Engine) -> None:
    with engine.begin() as connection:
        METADATA.create_all(connection)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_sqlite_files_are_private(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        engine = connect(f"sqlite:///{tmp_path}/a/b/pii.db")
        create(engine)
    finally:
        os.umask(before)
    assert mode(tmp_path / "a") == mode(tmp_path / "a" / "b") == 0o700
    files = {file.name: mode(file) for file in (tmp_path / "a" / "b").iterdir()}
    assert files == {"pii.db": 0o600, "pii.db-wal": 0o600, "pii.db-shm": 0o600}
    engine.dispose()


@pytest.mark.parametrize(
    "url",
    [
        "sqlite://",
        "sqlite:///:memory:",
        "mysql://user:hunter2@host/db",
        "hunter2",
        "postgresql://user:hunter2@host:port/db",
    ],
)
def test_unsupported_urls_are_refused_without_quoting_them(url: str) -> None:
    with pytest.raises(DatabaseError) as caught:
        connect(url)
    assert "hunter2" not in str(caught.value)
    assert "sqlite:///PATH" in str(caught.value)


@pytest.mark.parametrize("connecting", [connect, connect_existing])
@pytest.mark.parametrize(
    "url", ["postgresql://anna:a@hunter2@127.0.0.1:1/pii", "postgresql://anna:a@1/hunter2@127.0.0.1:1/pii"]
)
def test_a_password_that_ends_too_early_is_not_taken_for_a_host(
    url: str, connecting: Callable[[str], object]
) -> None:
    with pytest.raises(DatabaseError) as caught:
        connecting(url)
    assert str(caught.value) == "PII_DATABASE_URL: more than one @ — write an @ of the password as %40"


def test_read_then_write_neither_deadlocks_nor_loses_updates(database_url: str) -> None:
    engine = connect(database_url)
    create(engine)
    with engine.begin() as connection:
        connection.execute(insert(COUNTER).values(id=1, value=0))

    def count() -> None:
        for _ in range(20):
            with engine.begin() as connection:
                query = select(COUNTER.c.value).where(COUNTER.c.id == 1).with_for_update()
                value = connection.scalar(query) or 0
                connection.execute(update(COUNTER).values(value=value + 1))

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with reading(engine) as connection:
        assert connection.scalar(select(COUNTER.c.value)) == 80
    engine.dispose()


def test_readers_do_not_wait_for_a_writer(database_url: str) -> None:
    engine = connect(database_url)
    create(engine)
    with engine.begin() as writer:
        writer.execute(insert(NAMES).values(name="not yet"))
        with reading(engine) as reader:
            assert reader.execute(select(NAMES)).all() == []
    engine.dispose()


def test_errors_quote_no_value(database_url: str) -> None:
    engine = connect(database_url)
    create(engine)
    for _ in range(2):
        try:
            with engine.begin() as connection:
                connection.execute(insert(NAMES).values(name="canary@example.com"))
        except DBAPIError as caught:
            shown = f"{caught} {caught!r} {caught.orig} {caught.orig!r}"
            assert "canary" not in shown
            assert "names" in shown
            break
    else:
        pytest.fail("the second insert must fail")
    engine.dispose()


def test_a_file_that_is_no_database_is_told_with_the_setting(tmp_path: Path) -> None:
    file = tmp_path / "pii.db"
    file.write_bytes(b"canary@example.com " * 100)
    with pytest.raises(DatabaseError) as caught:
        create(connect(f"sqlite:///{file}"))
    assert str(caught.value) == f"PII_DATABASE_URL: {file} is no SQLite database — name another file"
    assert not isinstance(caught.value, DatabaseUnavailable), "a wrong setting"


def test_a_damaged_database_is_told_with_the_setting(tmp_path: Path) -> None:
    file = tmp_path / "pii.db"
    engine = connect(f"sqlite:///{file}")
    create(engine)
    with engine.begin() as connection:
        connection.execute(insert(NAMES), [{"name": f"canary{n}@example.com"} for n in range(1000)])
    scrub(engine)
    engine.dispose()
    whole = file.read_bytes()
    file.write_bytes(whole[:4096] + os.urandom(len(whole) - 4096))
    with pytest.raises(DatabaseUnavailable) as caught, reading(connect(f"sqlite:///{file}")) as connection:
        connection.execute(select(NAMES)).all()
    assert (
        str(caught.value) == f"PII_DATABASE_URL: {file}: the database is damaged — put a backup in its place"
    )


def test_a_place_that_cannot_be_written_is_told_with_the_setting(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DatabaseError, match=r"PII_DATABASE_URL: .*/file: File exists — name a file"):
        connect(f"sqlite:///{tmp_path}/file/pii.db")


def test_no_server_is_told_with_the_setting_and_without_the_password() -> None:
    url = "postgresql://anna:hunter2@127.0.0.1:1/pii?password=hunter3"
    with pytest.raises(DatabaseUnavailable) as caught, connect(url).connect():
        pytest.fail("nobody listens there")
    assert str(caught.value) == (
        "PII_DATABASE_URL: postgresql://anna:***@127.0.0.1:1/pii: cannot connect, nobody listens there — "
        "start the database, or mend the URL"
    )


@pytest.mark.parametrize("url", ["postgresql://anna:hunter2@127.0.0.1:1/pii?sslmod=hunter3"])
def test_an_option_that_libpq_does_not_know_is_named_and_its_value_is_not(url: str) -> None:
    with pytest.raises(DatabaseError) as caught, connect(url).connect():
        pytest.fail("nobody listens there")
    assert str(caught.value) == (
        "PII_DATABASE_URL: postgresql://anna:***@127.0.0.1:1/pii: PostgreSQL's client knows no option sslmod "
        "— mend it, or leave it out"
    )
    assert not isinstance(caught.value, DatabaseUnavailable), "to start the database is no help"


def test_what_libpq_takes_for_an_option_may_be_of_a_password() -> None:
    said = 'invalid dsn: invalid URI query parameter: "hunter2"'
    assert (unknown_option(said, ["sslmode"]), unknown_option(said, ["hunter2"])) == (None, "hunter2")


def test_a_lost_connection_is_told_and_the_next_one_works(database_url: str) -> None:
    if database_url.startswith("sqlite"):
        pytest.skip("there is no connection to lose")
    engine = connect(database_url)
    killing = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
    with (
        pytest.raises(
            DatabaseUnavailable, match=r"PII_DATABASE_URL: postgresql://.*: the connection was lost"
        ),
        engine.connect() as connection,
    ):
        connection.exec_driver_sql("SELECT 1")
        with engine.connect() as other:
            other.exec_driver_sql(killing + " AND datname = current_database()")
        connection.exec_driver_sql("SELECT 1")
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT 1").scalar() == 1
    engine.dispose()


def test_deleted_content_is_in_no_file_after_scrub(tmp_path: Path) -> None:
    engine = connect(f"sqlite:///{tmp_path}/pii.db")
    create(engine)
    with engine.begin() as connection:
        connection.execute(insert(NAMES).values(name="canary-to-forget"))
    with engine.begin() as connection:
        connection.execute(NAMES.delete())
    assert b"canary-to-forget" in b"".join(file.read_bytes() for file in tmp_path.iterdir())
    scrub(engine)
    assert b"canary-to-forget" not in b"".join(file.read_bytes() for file in tmp_path.iterdir())
    engine.dispose()


def waits_for_the_disk(connection: Connection) -> bool:
    """Whether the commit of the transaction that it is in does."""
    if connection.engine.dialect.name == "sqlite":
        return connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2
    unless_changed = "SELECT setting = reset_val FROM pg_settings WHERE name = 'synchronous_commit'"
    return connection.exec_driver_sql(unless_changed).scalar_one()


def test_who_says_so_leaves_it_to_a_later_transaction_to_wait_for_the_disk(database_url: str) -> None:
    engine = connect(database_url, connections=1)  # one and the same
    create(engine)
    for number in range(2):
        with durable_later(engine) as connection:
            assert waits_for_the_disk(connection) == (engine.dialect.name == "postgresql")
            connection.execute(insert(COUNTER).values(id=number, value=0))
        with engine.begin() as connection:
            assert waits_for_the_disk(connection)
    with reading(engine) as connection:
        assert connection.scalars(select(COUNTER.c.id)).all() == [0, 1]
    with pytest.raises(ZeroDivisionError), durable_later(engine) as connection:
        connection.execute(insert(COUNTER).values(id=2, value=0))
        _ = 1 / 0
    with reading(engine) as connection:
        assert connection.scalars(select(COUNTER.c.id)).all() == [0, 1], "it is a transaction"
    engine.dispose()


def test_no_more_connections_than_are_said(database_url: str) -> None:
    engine = connect(database_url, connections=2)
    create(engine)
    got = threading.Event()

    def third() -> None:
        with reading(engine):
            got.set()

    with reading(engine):
        with reading(engine):
            waiting = threading.Thread(target=third)
            waiting.start()
            assert not got.wait(0.3)
        waiting.join(30)
    assert got.is_set()
    engine.dispose()


def test_each_connection_to_sqlite_has_so_much_cache(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/pii.db"
    for engine, kibibytes in (connect(url), 32_768), (connect(url, cache_bytes=1024 * 1024), 1_024):
        with engine.connect() as connection:
            assert connection.exec_driver_sql("PRAGMA cache_size").scalar() == -kibibytes
        engine.dispose()
