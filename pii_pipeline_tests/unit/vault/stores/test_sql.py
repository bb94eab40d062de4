"""SQLite and PostgreSQL on bad days, and what is said of them."""

from __future__ import annotations

import shutil
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast

import pytest
import sqlalchemy as sa
from sqlalchemy import event

from pii_pipeline.database import connect, transactions, upgrade
from pii_pipeline.vault.errors import TamperedRow, VaultSettingError, VaultUnavailable
from pii_pipeline.vault.model import Stored
from pii_pipeline.vault.stores import Allowance, VaultStore, open_store, tables
from pii_pipeline.vault.stores.sql import SqlStore
from pii_pipeline_tests.postgres import Line, OwnServer, own_server
from pii_pipeline_tests.unit.vault.stores.examples import (
    NOW,
    consent,
    entries,
    entry,
    key,
    mark,
    record,
    seen,
    subject,
    unbound,
)


def sql(url: str, *statements: sa.Executable) -> None:
    engine = connect(url)
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(statement)
    engine.dispose()


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'var' / 'vault.db'}"


def test_a_file_that_is_made_is_private(sqlite_url: str, tmp_path: Path) -> None:
    store = open_store(sqlite_url)
    store.put([record(1)])
    files = list((tmp_path / "var").iterdir())
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    assert stat.S_IMODE((tmp_path / "var").stat().st_mode) == 0o700
    store.close()


def test_what_was_deleted_is_in_no_file(sqlite_url: str, tmp_path: Path) -> None:
    """Where nobody is named there is no salt whose end makes the rest unreadable."""
    store = open_store(sqlite_url)
    those = [unbound(1), unbound(2), record(3)]
    store.put(those)
    store.put_consents([consent(3, 1)])

    def found() -> list[bool]:
        held = b"".join(file.read_bytes() for file in (tmp_path / "var").iterdir())
        return [that.sealed in held for that in those]

    assert found() == [True, True, True]
    store.delete([key(1)])
    assert found() == [False, True, True]
    store.delete_marked([mark(2)])
    assert found() == [False, False, True]
    store.delete_subjects([subject(3)])
    assert found() == [False, False, False]
    store.close()


@pytest.mark.parametrize(
    "url", ["mysql://ann:s3cret@host/x", "s3cret", "", "sqlite://", "sqlite:///:memory:"]
)
def test_what_is_no_store_is_refused_without_quoting_it(url: str) -> None:
    with pytest.raises(VaultSettingError, match=r"^PII_VAULT_URL: no ") as refused:
        open_store(url)
    assert "s3cret" not in str(refused.value)


def test_a_database_of_a_later_release_is_a_wrong_setting(database_url: str) -> None:
    open_store(database_url).close()
    sql(database_url, sa.text("UPDATE pii_vault_schema_version SET version_num = '9999'"))
    with pytest.raises(VaultSettingError, match=r"^PII_VAULT_URL: its tables are of a later release"):
        open_store(database_url)


def test_consents_from_before_they_were_sealed_are_gone_and_loaded_again(
    database_url: str, tmp_path: Path
) -> None:
    before = replace(tables.VAULT_SCHEMA, migrations=tmp_path / "before")
    before.migrations.mkdir()
    shutil.copy(tables.VAULT_SCHEMA.migrations / "0001_first_schema.py", before.migrations)
    engine = connect(database_url)
    upgrade(engine, before)
    engine.dispose()
    said = "(subject, stream, levels, cumulative, at, rank)"
    values = "('abc', 'logins', '1,2', false, '2026-11-26 10:00:00', 'abc')"
    if database_url.startswith("sqlite"):
        values = values.replace("'abc'", "x'616263'")
    sql(database_url, sa.text(f"INSERT INTO vault_consents {said} VALUES {values}".replace(":00", "\\:00")))
    store = open_store(database_url)
    assert store.consents("logins", [b"abc"]) == {}
    store.put_consents([consent(1, 1)])
    assert store.consents("logins", [subject(1)]) == {subject(1): consent(1, 1)}
    store.close()


@pytest.mark.parametrize(
    "day", ["'infinity'", "'4713-01-01 BC'", "'294276-01-01'"], ids=["infinity", "before", "after"]
)
def test_a_day_that_python_does_not_have_keeps_nobody_from_another(
    postgres_database_url: str, day: str
) -> None:
    store = open_store(postgres_database_url)
    store.put([record(1), record(2)])
    store.put_consents([consent(1, 1), consent(2, 1)])
    store.remember_anchor(1, NOW)
    of_one = f"WHERE subject = '\\x{subject(1).hex()}'"
    for statement in (
        f"UPDATE vault_records SET first_seen = {day} {of_one}",
        f"UPDATE vault_consents SET at = {day} {of_one}",
        f"UPDATE vault_anchor SET at = {day}",
    ):
        sql(postgres_database_url, sa.text(statement))
    (altered,), (whole,) = store.find([key(1), key(2)])
    assert (altered.sealed, whole) == (b"", record(2))
    said = store.consents("logins", [subject(1), subject(2)])
    assert (said[subject(1)].seal, said[subject(2)]) == (b"", consent(2, 1))
    with pytest.raises(TamperedRow):
        store.anchored()
    store.close()


def test_a_counter_that_is_as_high_as_can_be_is_a_limit(database_url: str) -> None:
    store = open_store(database_url)
    limit = Allowance("ann", "2026-11-26", 5)
    assert store.spend([limit], 1) is None
    sql(database_url, tables.spent.update().values(spent=2**63 - 1))
    assert store.spend([limit], 1) == limit
    store.close()


def test_a_server_that_is_not_there_is_unavailable() -> None:
    with pytest.raises(VaultUnavailable) as told:
        open_store("postgresql://ann:s3cret@127.0.0.1:1/pii")
    assert str(told.value) == (
        "PII_VAULT_URL: postgresql://ann:***@127.0.0.1:1/pii: cannot connect, nobody listens there — "
        "start the database, or mend the URL"
    )


def test_a_damaged_file_is_unavailable(sqlite_url: str, tmp_path: Path) -> None:
    store = open_store(sqlite_url)
    store.put([record(number) for number in range(1_000)])
    store.delete([key(0)])  # brings all into the file
    store.close()
    file = tmp_path / "var" / "vault.db"
    whole = file.read_bytes()
    file.write_bytes(whole[:4096] + b"canary" * ((len(whole) - 4096) // 6))
    with pytest.raises(VaultUnavailable, match="the database is damaged") as told:
        open_store(sqlite_url).find([key(1)])
    assert "canary" not in str(told.value)
    assert told.value.__cause__ is None and told.value.__suppress_context__


def test_statements_have_few_sizes_whatever_is_asked(sqlite_url: str) -> None:
    """Python keeps 128 of them, with what they were given: of any size, that would be much memory."""
    store = cast(SqlStore, open_store(sqlite_url))
    texts: set[str] = set()
    for engine in store._writer, store._reader:
        event.listen(engine, "before_cursor_execute", lambda *given: texts.add(given[2]))
    first = 0
    for size in (*range(1, 140), 500, 1_100):
        some = [record(first + number) for number in range(size)]
        assert store.put(some) == Stored(size, 0)
        assert store.find([one.key for one in some]) == [[one] for one in some]
        first += size
    store.close()
    assert sum("IN (" in text for text in texts) <= 11, "1, 2, 4 … 1,024"
    assert sum("INSERT" in text for text in texts) <= 9, "1, 2, 4 … 128"


def test_windows_that_began_long_ago_are_forgotten(database_url: str) -> None:
    store = open_store(database_url)
    old, newer = Allowance("ann", "2026-11-23", 5), Allowance("ann", "2026-11-26", 5)
    assert store.spend([old], 5) is None
    assert store.spend([newer], 5) is None
    sql(
        database_url,
        tables.spent.update()
        .where(tables.spent.c.window == old.window)
        .values(began_at=datetime.now(UTC) - timedelta(days=2, seconds=1)),
    )
    assert store.spend([Allowance("bob", "2026-11-26", 5)], 1) is None
    assert store.spend([newer], 1) == newer
    engine = connect(database_url)
    with engine.connect() as connection:
        windows = connection.scalars(sa.select(tables.spent.c.window)).all()
    engine.dispose()
    store.close()
    assert sorted(windows) == ["2026-11-26", "2026-11-26"]


def test_what_is_missing_from_the_log_is_missing(database_url: str) -> None:
    store = open_store(database_url)
    store.append(entries(1, 6))
    sequence = tables.audit.c.sequence
    sql(database_url, tables.audit.delete().where(sequence.in_([1, 3, 6])))
    assert list(store.entries()) == [entry(2), entry(4), entry(5)]
    assert store.last_entry() == entry(5)
    assert not store.append([entry(7)]), "the log was cut"
    store.close()


@pytest.fixture
def line(postgres_database_url: str) -> Iterator[Line]:
    """To the database; loses answers to COMMIT when it is told to."""
    line = Line(postgres_database_url)
    yield line
    line.close()


@pytest.fixture
def remote(line: Line) -> Iterator[VaultStore]:
    store = open_store(line.url)
    yield store
    store.close()


def test_an_append_whose_answer_was_lost_is_not_done_twice(remote: VaultStore, line: Line) -> None:
    assert remote.append([entry(1)])
    line.lose_answers(1)
    assert remote.append(entries(2, 3)), "it is his own that he finds"
    assert line.lost_all
    assert list(remote.entries()) == entries(1, 3)
    assert remote.append([entry(4)])


def test_what_another_appended_while_the_answer_was_lost_is_not_taken_for_ones_own(
    remote: VaultStore, line: Line, postgres_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = open_store(postgres_database_url)
    assert remote.append([entry(1)])
    waiting = transactions.time.sleep

    def meanwhile(seconds: float) -> None:
        # Between the first try, which is undone here, and the second.
        sql(postgres_database_url, tables.audit.delete().where(tables.audit.c.sequence == 2))
        assert other.append([entry(2)])
        waiting(seconds)

    monkeypatch.setattr(transactions.time, "sleep", meanwhile)
    line.lose_answers(1)
    assert not remote.append([entry(2)]), "the same to the letter, and another's"
    assert line.lost_all
    other.close()


def test_other_changes_whose_answers_were_lost(remote: VaultStore, line: Line) -> None:
    line.lose_answers(1)
    assert remote.put([record(1), record(2)]) == Stored(new=0, known=2)
    line.lose_answers(1)
    assert remote.put([seen(record(1), 1, 2)]) == Stored(0, 1)
    line.lose_answers(1)
    remote.put_consents([consent(1, 1)])
    line.lose_answers(1)
    remote.remember_anchor(5, NOW)
    line.lose_answers(1)
    limit = Allowance("ann", "2026-11-26", 9)
    assert remote.spend([limit], 3) is None
    line.lose_answers(1)
    assert remote.delete([key(2)]) == 0
    assert line.lost_all
    assert remote.find([key(1), key(2)]) == [[seen(record(1), 0, 2)], []]
    assert remote.consents("logins", [subject(1)]) == {subject(1): consent(1, 1)}
    assert remote.anchored() == (5, NOW)
    assert remote.spend([limit], 4) == limit, "it was taken twice: too strict, never too lax"
    assert remote.spend([limit], 3) is None


def test_a_change_that_postgresql_ends_because_two_wait_for_each_other_is_made_again(
    postgres_database_url: str,
) -> None:
    store, other = open_store(postgres_database_url), connect(postgres_database_url)
    first, second = (record(1, key(1, field=field)) for field in ("a", "b"))
    store.put([first, second])
    field, locks = tables.records.c.field, "SELECT count(*) FROM pg_locks WHERE NOT granted"
    with ThreadPoolExecutor() as threads, other.begin() as transaction:
        transaction.exec_driver_sql("SET LOCAL deadlock_timeout = '1min'")  # it is not this one that is ended
        transaction.execute(sa.select(tables.records).where(field == "b").with_for_update())
        deleting = threads.submit(store.delete, [first.key, second.key])
        while not transaction.exec_driver_sql(locks).scalar():
            assert not deleting.done()
        transaction.execute(sa.select(tables.records).where(field == "a").with_for_update())
        assert not deleting.done()
        transaction.commit()
        assert deleting.result(timeout=60) == 2
    other.dispose()
    store.close()


@pytest.fixture(scope="module")
def server() -> Iterator[OwnServer]:
    with own_server() as server:
        yield server


def test_a_server_that_restarts_is_waited_for(server: OwnServer) -> None:
    store = open_store(server.url)
    store.put([record(1)])
    store.append([entry(1)])
    reading = store.entries()
    assert next(reading) == entry(1)
    server.restart("immediate")
    assert store.put([record(1), record(2)]) == Stored(1, 1)
    server.restart()
    assert store.append([entry(2)])
    server.restart()
    assert store.spend([Allowance("ann", "2026-11-26", 9)], 1) is None
    server.restart()
    assert list(store.entries()) == entries(1, 2)
    server.stop()
    with ThreadPoolExecutor() as threads:
        finding = threads.submit(store.find, [key(1), key(2)])
        appending = threads.submit(store.append, [entry(3)])
        server.start()
        assert finding.result(timeout=60) == [[record(1)], [record(2)]]
        assert appending.result(timeout=60)
    store.close()


def test_what_was_spent_outlasts_a_crash_of_the_server_as_the_entry_of_the_read_does(
    server: OwnServer,
) -> None:
    store = open_store(server.url)
    for day in range(1, 4):
        all_of_it = Allowance("bob", f"2026-11-2{day}", 9)
        assert store.spend([all_of_it], 9) is None
        server.restart("immediate")
        last = store.last_entry()
        assert store.append([entry(last.sequence + 1 if last else 1)]), "the read goes on, and is told"
        assert store.spend([all_of_it], 1) == all_of_it
    store.close()


def test_patience_ends(server: OwnServer, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store(server.url)
    monkeypatch.setattr(transactions, "PATIENCE", 0.3)
    server.stop()
    try:
        with pytest.raises(VaultUnavailable, match=r"^PII_VAULT_URL: postgresql://.* cannot connect"):
            store.append([entry(1)])
        with pytest.raises(VaultUnavailable, match=r"^PII_VAULT_URL: "):
            list(store.entries())
    finally:
        server.start()
    store.close()
