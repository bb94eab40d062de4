"""Transactions, and what to do when the server restarts in the middle of one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from sqlalchemy import Connection, Engine, Insert, Table
from sqlalchemy.dialects import sqlite

from pii_pipeline.database.connecting import BUSY_SECONDS, DURABLE_LATER, READ_ONLY
from pii_pipeline.database.errors import ConnectionLost

PATIENCE = 120.0
"""Seconds in which a server that was there has to be there again: a restart, or another one in its place."""

_PAUSE_SECONDS = 0.1, 2.0
_SCRUB_SECONDS = 5

P = ParamSpec("P")
R = TypeVar("R")


def again_if_lost(method: Callable[P, R]) -> Callable[P, R]:
    """For methods that may be called twice: all of it once more, after a pause, if the connection was lost.

    Nobody can know whether the transaction that was lost had been committed. So it must do no harm, and give
    the same answer, to do it again after it was.
    """

    @wraps(method)
    def patiently(*args: P.args, **kwargs: P.kwargs) -> R:
        give_up = time.monotonic() + PATIENCE
        pause, longest = _PAUSE_SECONDS
        while True:
            try:
                return method(*args, **kwargs)
            except ConnectionLost:
                if time.monotonic() > give_up:
                    raise
            time.sleep(pause)
            pause = min(2 * pause, longest)

    return patiently


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """A transaction that only reads: on SQLite one snapshot that neither waits for a writer nor stops one."""
    options: dict[str, Any] = {READ_ONLY: True}
    if engine.dialect.name == "postgresql":
        options["postgresql_readonly"] = True
    with engine.connect().execution_options(**options) as connection, connection.begin():
        yield connection


@contextmanager
def durable_later(engine: Engine) -> Iterator[Connection]:
    """A write transaction that on SQLite does not wait for the disk: it is durable as soon as a later one of
    ``engine.begin()``, of any process, is, since the log is written in order. Others see it at once.

    PostgreSQL does wait. Its server may crash and be back, and whoever waited for it goes on: the later
    transaction would be there, and this one not.
    """
    options: dict[str, Any] = {DURABLE_LATER: True}
    with engine.connect().execution_options(**options) as connection, connection.begin():
        yield connection


def insert_new(engine: Engine, table: Table) -> Insert:
    """INSERT … ON CONFLICT DO NOTHING: whoever came first stays; select afterwards to see who that was."""
    if engine.dialect.name == "postgresql":
        from sqlalchemy.dialects.postgresql import insert  # the driver's part takes time to import

        return insert(table).on_conflict_do_nothing()
    return sqlite.insert(table).on_conflict_do_nothing()


def scrub(engine: Engine) -> None:
    """Overwrite what has been deleted so far, as well as the database allows.

    SQLite zeroes deleted content in its pages (`secure_delete`), but the write-ahead log still holds the
    pages as they were: it is written back and truncated. With readers in the way that is left to the next
    call. PostgreSQL keeps dead rows until vacuum; there, what must not be readable is wrapped.
    """
    if engine.dialect.name == "sqlite":
        with closing(engine.raw_connection()) as connection, closing(connection.cursor()) as cursor:
            cursor.execute(f"PRAGMA busy_timeout = {_SCRUB_SECONDS * 1000}")
            cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            cursor.execute(f"PRAGMA busy_timeout = {BUSY_SECONDS * 1000}")
