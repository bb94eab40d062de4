"""Connections to SQLite and PostgreSQL, and what is said when there is none."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL, ExceptionContext, make_url
from sqlalchemy.exc import ArgumentError

from pii_pipeline.database.errors import (
    SETTING,
    ConnectionLost,
    DatabaseError,
    DatabaseUnavailable,
    unknown_option,
    why_no_connection,
)
from pii_pipeline.database.files import make_private_directories

BUSY_SECONDS = 60
"""How long a SQLite connection waits for another's write transaction."""

READ_ONLY = "pii_read_only"
"""The execution option of transactions that only read."""
DURABLE_LATER = "pii_durable_later"
"""That of transactions which, on SQLite, do not wait for the disk."""

CACHE_BYTES = 32 * 1024 * 1024
"""Of a SQLite connection, for pages: rows under random keys touch pages all over."""

_SUPPORTED = "use sqlite:///PATH (a file) or postgresql://…"

_SQLITE_FAILURES = {
    sqlite3.SQLITE_CORRUPT: ("the database is damaged", "put a backup in its place"),
    sqlite3.SQLITE_CANTOPEN: ("the file cannot be opened", "mend what its folder allows"),
    sqlite3.SQLITE_READONLY: ("the file cannot be written", "mend what it and its folder allow"),
    sqlite3.SQLITE_IOERR: ("the disk does not read or write", "look at the disk"),
    sqlite3.SQLITE_FULL: ("the disk is full", "make room"),
    sqlite3.SQLITE_BUSY: (f"another process has been writing for {BUSY_SECONDS} s", "try again after it"),
}

# A host that is gone sends nothing, not even an end: without these a transaction would wait a quarter of an
# hour for it, and a lease's holder not notice that it has expired. What the URL says itself holds.
_PROBING = {
    "connect_timeout": 10,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,  # milliseconds
}

_COMING_BACK = ("is starting up", "is shutting down", "in recovery mode")
"""What a server says that will be there in a moment."""


def connect(
    url: str, setting: str = SETTING, connections: int | None = None, cache_bytes: int = CACHE_BYTES
) -> Engine:
    """An engine for `sqlite:///PATH` or `postgresql://…`, safe across threads and processes.

    SQLite: the file is made on first use with mode 0600 (its -wal and -shm files inherit that), missing
    parent directories with 0700. Raises `DatabaseError` for anything else; messages name `setting`, where
    `url` is from. An engine must not cross a fork; every process connects for itself.

    connections: at most so many are open at once, and stay so; who needs another waits for a while. Unless it
    is said, some stay open and more are made while they are needed.
    cache_bytes: of each connection to SQLite.
    """
    parsed = _parsed(url, setting)
    pool: dict[str, int] = {}
    if connections is not None:
        pool = {"pool_size": connections, "max_overflow": 0, "pool_timeout": BUSY_SECONDS}
    backend = parsed.get_backend_name()
    if backend == "sqlite" and parsed.database and parsed.database != ":memory:" and not parsed.query:
        return _connect_sqlite(parsed, setting, cache_bytes, pool)
    if backend == "postgresql":
        return _connect_postgresql(parsed, setting, pool)
    raise DatabaseError(f"{setting}: no database that is supported — {_SUPPORTED}")


def connect_existing(url: str, setting: str = SETTING) -> Engine | None:
    """As `connect`, but None where a SQLite file would have to be made."""
    parsed = _parsed(url, setting)
    if parsed.get_backend_name() == "sqlite" and not Path(parsed.database or "").is_file():
        return None
    return connect(url, setting)


def _parsed(url: str, setting: str) -> URL:
    """Raises `DatabaseError`."""
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):  # the latter of a port that is no number, which it quotes
        raise DatabaseError(f"{setting}: no URL — {_SUPPORTED}") from None
    # The password ends at the first @, and messages quote what is behind it.
    if parsed.get_backend_name() == "postgresql" and "@" in f"{parsed.host}{parsed.database}":
        raise DatabaseError(f"{setting}: more than one @ — write an @ of the password as %40")
    return parsed


def _connect_sqlite(url: URL, setting: str, cache_bytes: int, pool: Mapping[str, int]) -> Engine:
    if url.host or url.username or url.query:
        raise DatabaseError(f"{setting}: SQLite is a file, on no host — write sqlite:////path/to/pii.db")
    path = Path(url.database or "").absolute()
    try:
        make_private_directories(path.parent)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    except OSError as error:
        raise DatabaseError(
            f"{setting}: {error.filename}: {error.strerror} — name a file that can be written"
        ) from None
    engine = create_engine(
        url.set(drivername="sqlite+pysqlite", database=str(path)),
        hide_parameters=True,
        connect_args={"timeout": BUSY_SECONDS},
        **pool,
    )

    @event.listens_for(engine, "connect")
    def prepare(connection: sqlite3.Connection, _record: object) -> None:
        # Python's sqlite3 would begin transactions by itself, late and deferred; `begin` below does it.
        connection.isolation_level = None
        with closing(connection.cursor()) as cursor:
            _enter_wal(cursor)
            cursor.execute("PRAGMA foreign_keys = ON")
            cursor.execute("PRAGMA secure_delete = ON")
            cursor.execute("PRAGMA temp_store = MEMORY")
            cursor.execute(f"PRAGMA cache_size = -{cache_bytes // 1024}")
            cursor.execute("PRAGMA wal_autocheckpoint = 16384")  # pages: every 64 MiB

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        options = connection.get_execution_options()
        if options.get(READ_ONLY, False):
            connection.exec_driver_sql("BEGIN")
            return
        # FULL: with NORMAL a power cut may undo the last commits, and with them keys that files in the lake
        # were already written under. It cannot be changed once a transaction has begun.
        synchronous = "NORMAL" if options.get(DURABLE_LATER, False) else "FULL"
        connection.exec_driver_sql(f"PRAGMA synchronous = {synchronous}")
        # IMMEDIATE: two deferred transactions that both read and then write deadlock, and SQLite fails one
        # of them at once, without waiting for the busy timeout.
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    @event.listens_for(engine, "handle_error")
    def explain(context: ExceptionContext) -> DatabaseError | None:
        code = getattr(context.original_exception, "sqlite_errorcode", 0) & 0xFF  # without the extended part
        if code == sqlite3.SQLITE_NOTADB:
            return DatabaseError(f"{setting}: {path} is no SQLite database — name another file")
        if code not in _SQLITE_FAILURES:
            return None
        problem, mend = _SQLITE_FAILURES[code]
        return DatabaseUnavailable(f"{setting}: {path}: {problem} — {mend}")

    return engine


def _enter_wal(cursor: sqlite3.Cursor) -> None:
    """Switching a new file to WAL does not honour the busy timeout when several processes do so at once."""
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            cursor.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)


def _connect_postgresql(url: URL, setting: str, pool: Mapping[str, int]) -> Engine:
    engine = create_engine(
        url.set(drivername="postgresql+psycopg2"),
        hide_parameters=True,
        pool_pre_ping=True,
        executemany_mode="values_plus_batch",
        connect_args={name: value for name, value in _PROBING.items() if name not in url.query},
        **pool,
    )
    place = url.set(drivername="postgresql", query={}).render_as_string(hide_password=True)
    was_there = False

    @event.listens_for(engine, "connect")
    def connected(_connection: object, _record: object) -> None:
        nonlocal was_there
        was_there = True

    @event.listens_for(engine, "handle_error")
    def explain(context: ExceptionContext) -> DatabaseError | None:
        if context.is_pre_ping:
            return None  # the pool connects again by itself
        if context.connection is not None and not context.is_disconnect:
            _redact(context)
            return None
        said = str(context.original_exception)
        if option := unknown_option(said, url.query):
            problem = f"PostgreSQL's client knows no option {option}"
            return DatabaseError(f"{setting}: {place}: {problem} — mend it, or leave it out")
        reason = why_no_connection(said)
        problem = "cannot connect" if context.connection is None else "the connection was lost"
        why = f"{problem}, {reason}" if reason else problem
        comes_back = was_there or any(text in said for text in _COMING_BACK)
        kind = ConnectionLost if comes_back else DatabaseUnavailable
        return kind(f"{setting}: {place}: {why} — start the database, or mend the URL")

    return engine


def _redact(context: ExceptionContext) -> None:
    """PostgreSQL quotes values in its messages ("Key (…)=(…) already exists"): keep what names no value."""
    original: Any = context.original_exception
    if getattr(original, "pgcode", None) is None:
        return  # not from the server's execution: no values in it
    where = [
        f"{kind} {name}"
        for kind in ("table", "constraint")
        if (name := getattr(original.diag, f"{kind}_name"))
    ]
    message = ", ".join([f"PostgreSQL error {original.pgcode}", *where])
    original.args = (message,)
    if context.sqlalchemy_exception is not None:
        context.sqlalchemy_exception.args = (f"({type(original).__name__}) {message}",)
