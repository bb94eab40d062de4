"""The one database of ledger and key store: SQLite embedded, PostgreSQL in production.

What both rely on: `engine.begin()` is a *write* transaction and may read, decide and write without another
process changing the answer in between; `reading(engine)` is a transaction that only reads and never waits
for a writer.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import (
    Connection,
    DateTime,
    Engine,
    Insert,
    MetaData,
    Table,
    TypeDecorator,
    create_engine,
    event,
)
from sqlalchemy.dialects import sqlite
from sqlalchemy.engine import URL, Dialect, ExceptionContext, make_url
from sqlalchemy.exc import ArgumentError

BUSY_SECONDS = 60
"""How long a SQLite connection waits for another's write transaction."""

_SCRUB_SECONDS = 5
_READ_ONLY = "pii_read_only"
_CREATE_TABLES_LOCK = 0x70_69_69_5F  # "pii_", PostgreSQL's advisory lock while tables are made


_SETTING = "PII_DATABASE_URL"
_SUPPORTED = "use sqlite:///PATH (a file) or postgresql://…"

_SQLITE_FAILURES = {
    sqlite3.SQLITE_CORRUPT: ("the database is damaged", "put a backup in its place"),
    sqlite3.SQLITE_CANTOPEN: ("the file cannot be opened", "mend what its folder allows"),
    sqlite3.SQLITE_READONLY: ("the file cannot be written", "mend what it and its folder allow"),
    sqlite3.SQLITE_IOERR: ("the disk does not read or write", "look at the disk"),
    sqlite3.SQLITE_FULL: ("the disk is full", "make room"),
    sqlite3.SQLITE_BUSY: (f"another process has been writing for {BUSY_SECONDS} s", "try again after it"),
}
_NO_CONNECTION = {
    "Connection refused": "nobody listens there",
    "could not translate host name": "there is no such host",
    "password authentication failed": "the user or the password is wrong",
    "does not exist": "there is no such database or user",
    "timeout expired": "no answer",
}
"""What libpq says, and we in its place: it may quote what it was given."""


def why_no_connection(said: str) -> str:
    """Why there is no connection to PostgreSQL, in words of ours, or ""; `said` by libpq."""
    return next((ours for theirs, ours in _NO_CONNECTION.items() if theirs in said), "")


class DatabaseError(Exception):
    """The database's URL cannot be used; the message says what is supported and quotes no password."""


class DatabaseUnavailable(DatabaseError):
    """The database is not there, or does not work, at the moment."""


def connect(url: str) -> Engine:
    """An engine for `sqlite:///PATH` or `postgresql://…`, safe across threads and processes.

    SQLite: the file is made on first use with mode 0600 (its -wal and -shm files inherit that), missing
    parent directories with 0700. Raises `DatabaseError` for anything else. An engine must not cross a fork;
    every process connects for itself.
    """
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise DatabaseError(f"{_SETTING}: no URL — {_SUPPORTED}") from None
    backend = parsed.get_backend_name()
    if backend == "sqlite" and parsed.database and parsed.database != ":memory:" and not parsed.query:
        return _connect_sqlite(parsed)
    if backend == "postgresql":
        return _connect_postgresql(parsed)
    raise DatabaseError(f"{_SETTING}: no database that is supported — {_SUPPORTED}")


def connect_existing(url: str) -> Engine | None:
    """As `connect`, but None where a SQLite file would have to be made."""
    with suppress(ArgumentError):
        parsed = make_url(url)
        if parsed.get_backend_name() == "sqlite" and not Path(parsed.database or "").is_file():
            return None
    return connect(url)


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """A transaction that only reads: on SQLite one snapshot that neither waits for a writer nor stops one."""
    options: dict[str, Any] = {_READ_ONLY: True}
    if engine.dialect.name == "postgresql":
        options["postgresql_readonly"] = True
    with engine.connect().execution_options(**options) as connection, connection.begin():
        yield connection


def create_tables(engine: Engine, metadata: MetaData) -> None:
    """Create what is missing of `metadata`; any number of processes may do so at once."""
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_CREATE_TABLES_LOCK})")
        metadata.create_all(connection)


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


def make_private_directories(path: Path) -> None:
    """`mkdir -p` with mode 0700 for every directory that is made (Path.mkdir gives it to the last alone)."""
    if path.is_dir():
        return
    make_private_directories(path.parent)
    path.mkdir(mode=0o700, exist_ok=True)


@contextmanager
def private_files() -> Iterator[None]:
    """Files that others make meanwhile, anywhere in this process, are 0600 and directories 0700."""
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)


class UtcDateTime(TypeDecorator[datetime]):
    """A moment: aware datetimes in and out, UTC in the database (SQLite itself knows no time zones)."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a moment needs a time zone")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def _connect_sqlite(url: URL) -> Engine:
    if url.host or url.username or url.query:
        raise DatabaseError(f"{_SETTING}: SQLite is a file, on no host — write sqlite:////path/to/pii.db")
    path = Path(url.database or "").absolute()
    try:
        make_private_directories(path.parent)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    except OSError as error:
        raise DatabaseError(
            f"{_SETTING}: {error.filename}: {error.strerror} — name a file that can be written"
        ) from None
    engine = create_engine(
        url.set(drivername="sqlite+pysqlite", database=str(path)),
        hide_parameters=True,
        connect_args={"timeout": BUSY_SECONDS},
    )

    @event.listens_for(engine, "connect")
    def prepare(connection: sqlite3.Connection, _record: object) -> None:
        # Python's sqlite3 would begin transactions by itself, late and deferred; `begin` below does it.
        connection.isolation_level = None
        with closing(connection.cursor()) as cursor:
            _enter_wal(cursor)
            # FULL: with NORMAL a power cut may undo the last commits, and with them keys that files in the
            # lake were already written under.
            cursor.execute("PRAGMA synchronous = FULL")
            cursor.execute("PRAGMA foreign_keys = ON")
            cursor.execute("PRAGMA secure_delete = ON")
            cursor.execute("PRAGMA temp_store = MEMORY")
            # Rows under random keys touch pages all over: 32 MiB of cache, a checkpoint every 64 MiB.
            cursor.execute("PRAGMA cache_size = -32768")
            cursor.execute("PRAGMA wal_autocheckpoint = 16384")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # IMMEDIATE: two deferred transactions that both read and then write deadlock, and SQLite fails one
        # of them at once, without waiting for the busy timeout.
        read_only = connection.get_execution_options().get(_READ_ONLY, False)
        connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")

    @event.listens_for(engine, "handle_error")
    def explain(context: ExceptionContext) -> DatabaseError | None:
        code = getattr(context.original_exception, "sqlite_errorcode", 0) & 0xFF  # without the extended part
        if code == sqlite3.SQLITE_NOTADB:
            return DatabaseError(f"{_SETTING}: {path} is no SQLite database — name another file")
        if code not in _SQLITE_FAILURES:
            return None
        problem, mend = _SQLITE_FAILURES[code]
        return DatabaseUnavailable(f"{_SETTING}: {path}: {problem} — {mend}")

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


def _connect_postgresql(url: URL) -> Engine:
    engine = create_engine(
        url.set(drivername="postgresql+psycopg2"),
        hide_parameters=True,
        pool_pre_ping=True,
        executemany_mode="values_plus_batch",
    )
    place = url.set(drivername="postgresql", query={}).render_as_string(hide_password=True)

    @event.listens_for(engine, "handle_error")
    def explain(context: ExceptionContext) -> DatabaseError | None:
        if context.is_pre_ping:
            return None  # the pool connects again by itself
        if context.connection is not None and not context.is_disconnect:
            _redact(context)
            return None
        reason = why_no_connection(str(context.original_exception))
        problem = "cannot connect" if context.connection is None else "the connection was lost"
        why = f"{problem}, {reason}" if reason else problem
        return DatabaseUnavailable(f"{_SETTING}: {place}: {why} — start the database, or mend the URL")

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
