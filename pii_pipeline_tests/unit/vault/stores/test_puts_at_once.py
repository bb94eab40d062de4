"""Puts of many threads on SQLite and PostgreSQL: those that wait are one transaction, and yet each has its
own count, and fails alone."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import cast

import pytest
from sqlalchemy import event
from sqlalchemy.exc import IntegrityError

from pii_pipeline.database import connect
from pii_pipeline.vault.model import SealedRecord, Stored
from pii_pipeline.vault.stores import open_store
from pii_pipeline.vault.stores.sql import SqlStore
from pii_pipeline_tests.unit.vault.stores.examples import key, record, seen


@pytest.fixture
def sql_store(database_url: str) -> Iterator[SqlStore]:
    store = cast(SqlStore, open_store(database_url))
    yield store
    store.close()


def at_once(store: SqlStore, url: str, puts: Sequence[Sequence[SealedRecord]]) -> list[Future[Stored]]:
    """What came of these puts, in this order, the first of which waits for another's transaction and all
    others for the first."""
    other = connect(url)
    with ThreadPoolExecutor(len(puts)) as threads:
        with other.begin() as transaction:
            if other.dialect.name == "postgresql":
                transaction.exec_driver_sql("LOCK TABLE vault_records")
            came = []
            for position, records in enumerate(puts):
                came.append(threads.submit(store.put, records))
                deadline = time.monotonic() + 30
                while not (store._puts._at_work and store._puts.waiting == position):
                    assert time.monotonic() < deadline
                    time.sleep(0.002)
        for one in came:
            one.exception()
    other.dispose()
    return came


def commits(store: SqlStore) -> list[int]:
    """Grows with each commit of the store's."""
    made: list[int] = []
    event.listen(store._writer, "commit", lambda _: made.append(1))
    return made


def test_puts_that_wait_are_one_transaction_and_each_knows_what_was_new(
    sql_store: SqlStore, database_url: str
) -> None:
    made = commits(sql_store)
    puts = [
        [record(0)],
        [record(1)],
        [record(1), record(2)],
        [seen(record(0), 1, 3), record(3), record(3)],
        [seen(record(2), -1, 0)],
        [],
    ]
    came = [one.result() for one in at_once(sql_store, database_url, puts)]
    assert came == [Stored(1, 0), Stored(1, 0), Stored(1, 1), Stored(1, 2), Stored(0, 1), Stored(0, 0)]
    assert len(made) == 2, "that of the first, and one of all the others"
    assert sql_store.records() == 4
    assert sql_store.find([key(0), key(2)]) == [[seen(record(0), 0, 3)], [seen(record(2), -1, 0)]]


def test_a_put_that_cannot_be_done_fails_alone(sql_store: SqlStore, database_url: str) -> None:
    wrong = replace(record(2), mark=None)  # type: ignore[arg-type]
    came = at_once(sql_store, database_url, [[record(0)], [record(1)], [wrong, record(4)], [record(3)]])
    assert isinstance(came.pop(2).exception(), IntegrityError)
    assert [one.result() for one in came] == [Stored(1, 0)] * 3
    assert sql_store.find([key(number) for number in range(5)]) == [
        [record(0)], [record(1)], [], [record(3)], [],
    ]  # fmt: skip


def test_many_records_are_a_transaction_of_their_own(sql_store: SqlStore, database_url: str) -> None:
    made = commits(sql_store)
    with ThreadPoolExecutor(4) as threads:
        stored = list(
            threads.map(lambda n: sql_store.put([record(n * 101 + i) for i in range(101)]), range(4))
        )
    assert stored == [Stored(101, 0)] * 4
    assert len(made) == 4
