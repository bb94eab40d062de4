"""Dagster's instance as a run in this process opens it: the files the UI reads, on connections kept open.

Dagster's SQLite storages make an engine and a connection for every transaction, several for each event, and
each close is a checkpoint that is synchronised. Here there is one engine for each file. A power cut may undo
what the UI knows of the last moments of a run, never damage the file; the truth is in the ledger.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import dagster as dg
import sqlalchemy as sa
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from dagster._core.instance.ref import InstanceRef
from dagster._core.instance.types import InstanceType
from dagster._core.storage.event_log.schema import SqlEventLogStorageMetadata
from dagster._core.storage.event_log.sqlite import sqlite_event_log
from dagster._core.storage.event_log.sqlite.sqlite_event_log import INDEX_SHARD_NAME, SqliteEventLogStorage
from dagster._core.storage.runs.schema import RunStorageSqlMetadata
from dagster._core.storage.runs.sqlite.sqlite_run_storage import SqliteRunStorage
from dagster._core.storage.sql import get_alembic_config
from dagster._core.storage.sqlite import SQLITE_BUSY_TIMEOUT_SECONDS, create_db_conn_string
from sqlalchemy import event
from sqlalchemy.exc import SQLAlchemyError

from pii_pipeline.database import make_private_directories
from pii_pipeline.settings import SettingError, Settings

_CONFIG = "dagster.yaml"

# The CLI shows progress and outcome itself, on the terminal that capturing would take away; and capturing
# starts two `tail` processes per run. The event log has everything else.
_NO_CAPTURE = {
    "compute_logs": {
        "module": "dagster._core.storage.noop_compute_log_manager",
        "class": "NoOpComputeLogManager",
    }
}


class InstanceUnavailable(Exception):
    """Dagster's storage does not answer. The message quotes neither its URL nor its password."""


@contextmanager
def answering(home: Path) -> Iterator[None]:
    """What Dagster raises of its storage leaves as an error of ours: its own texts quote the file, and what
    the driver says. Raises `InstanceUnavailable`, or `SettingError` for what is in the file."""
    file = home / _CONFIG
    try:
        yield
    except dg.DagsterInvalidConfigError:
        mend = "mend it, and set the variables that it names"
        raise SettingError("DAGSTER_HOME", f"{file} is not as Dagster wants it", mend) from None
    except ModuleNotFoundError as error:
        if error.name != "psycopg":  # what SQLAlchemy takes `postgresql://` for, and dagster-postgres has not
            raise
        mend = "write postgresql+psycopg2://… (with `postgres_db`: scheme: postgresql+psycopg2)"
        raise SettingError("DAGSTER_HOME", f"{file} does not name PostgreSQL's driver", mend) from None
    except Exception as error:
        kind = type(error)
        if not isinstance(error, SQLAlchemyError) and kind.__module__.partition(".")[0] != "dagster_postgres":
            raise
        raise InstanceUnavailable(
            f"the storage that {file} names does not answer ({kind.__name__}) — "
            "start its database, or mend the file"
        ) from None


def open_instance(home: Path) -> dg.DagsterInstance:
    """The instance in `home`, to be closed. One process after the other: Dagster's SQLite storages make their
    tables when they are first opened, and of two that do so at once one fails.

    Raises `InstanceUnavailable` and `SettingError`.
    """
    with (home / ".opening").open("w") as turn, answering(home):
        fcntl.flock(turn, fcntl.LOCK_EX)
        ref = InstanceRef.from_dir(str(home), overrides=_NO_CAPTURE)
        storage = ref.storage_data
        place = storage.config_dict.get("base_dir") if storage else None
        if storage is None or storage.class_name != "DagsterSqliteStorage" or not isinstance(place, str):
            return dg.DagsterInstance.from_ref(ref)  # PostgreSQL, or somebody's own dagster.yaml
        history = Path(place, "history")
        # Schedules, secrets and the state of components, which `from_ref` opens too, are not used in a run.
        return dg.DagsterInstance(
            instance_type=InstanceType.PERSISTENT,
            local_artifact_storage=ref.local_artifact_storage,
            run_storage=_Runs.at(history),
            event_storage=_Events(history / "runs"),
            run_coordinator=None,
            compute_log_manager=None,
            run_launcher=None,
            settings=ref.settings,
            ref=ref,
        )


def prepare_dagster_home(settings: Settings) -> Path:
    """DAGSTER_HOME, made with mode 0700 where it is missing, with the project's ``dagster.yaml`` in it.

    In the default place the copy follows the project's file; elsewhere a file that is there is somebody's own
    and stays. Raises `SettingError` if there is none to copy.
    """
    home = settings.dagster_home.absolute()
    make_private_directories(home)
    source, copy = settings.project / _CONFIG, home / _CONFIG
    ours = home == (settings.project / "var" / "dagster").absolute()
    if copy.exists() and not ours:
        return home
    if not source.exists():
        raise SettingError("DAGSTER_HOME", f"no {_CONFIG} in {home}", f"copy the project's {_CONFIG} there")
    wanted = source.read_bytes()
    if not copy.exists() or copy.read_bytes() != wanted:
        # Renamed into place: another run may be reading it.
        with tempfile.NamedTemporaryFile(dir=home, prefix=f".{_CONFIG}", delete=False) as file:
            file.write(wanted)
        Path(file.name).replace(copy)
    return home


def _engine(url: str) -> sa.Engine:
    engine = sa.create_engine(url, connect_args={"timeout": SQLITE_BUSY_TIMEOUT_SECONDS})

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _record: object) -> None:
        # In WAL mode: what is lost by a power cut are whole transactions, the last ones.
        connection.execute("PRAGMA synchronous = NORMAL")

    return engine


def _make(engine: sa.Engine, tables: sa.MetaData) -> None:
    """A new database, as Dagster's storages make it; but they read all migrations again for each one."""
    with engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA journal_mode = WAL")
        tables.create_all(connection)
        MigrationContext.configure(connection).stamp(_migrations(), "head")
        connection.commit()


def _is_made(engine: sa.Engine) -> bool:
    """Whether the database was made to its end, of which the migration's mark is the last part."""
    with engine.connect() as connection:
        return MigrationContext.configure(connection).get_current_revision() is not None


@cache
def _migrations() -> ScriptDirectory:
    return ScriptDirectory.from_config(get_alembic_config(sqlite_event_log.__file__))


class _Runs(SqliteRunStorage):
    """``history/runs.db``."""

    @classmethod
    def at(cls, folder: Path) -> SqliteRunStorage:
        make_private_directories(folder)
        new = not (folder / "runs.db").exists()
        runs = cls(create_db_conn_string(str(folder), "runs"))
        if new:
            _make(runs._open, RunStorageSqlMetadata)
            runs.migrate()
            runs.optimize()
        elif not _is_made(runs._open):
            return cls.from_local(str(folder))
        return runs

    @cached_property
    def _open(self) -> sa.Engine:
        return _engine(self._conn_string)

    @contextmanager
    def connect(self) -> Iterator[sa.Connection]:
        with self._open.begin() as connection:
            yield connection

    def dispose(self) -> None:
        self._open.dispose()


class _Events(SqliteEventLogStorage):
    """``history/runs/``: a file for each run, and an index over all of them."""

    def __init__(self, folder: Path) -> None:
        self._engines: dict[str, sa.Engine] = {}
        self._tables: frozenset[str] = frozenset()
        super().__init__(str(folder))

    @contextmanager
    def run_connection(self, run_id: str | None = None) -> Iterator[sa.Connection]:
        path = self.path_for_shard(str(run_id))
        with self._connect(str(run_id)) as connection:
            yield connection
        # The UI watches this file; what is written goes into another beside it until that is checkpointed.
        os.utime(path)

    @contextmanager
    def _connect(self, shard: str) -> Iterator[sa.Connection]:
        with self._db_lock, self._engine(shard).begin() as connection:
            yield connection

    def _initdb(self, engine: sa.Engine, for_index_shard: bool = False) -> None:
        if sa.inspect(engine).get_table_names():  # begun by somebody else
            super()._initdb(engine, for_index_shard)
        else:
            _make(engine, SqlEventLogStorageMetadata)

    def _engine(self, shard: str) -> sa.Engine:
        if shard not in self._engines:
            if shard != INDEX_SHARD_NAME:
                self._close(but=INDEX_SHARD_NAME)  # one run is written at a time
            engine = self._engines[shard] = _engine(self.conn_string_for_shard(shard))
            if not _is_made(engine):
                self._initdb(engine, for_index_shard=shard == INDEX_SHARD_NAME)
        return self._engines[shard]

    def has_table(self, table_name: str) -> bool:
        if table_name not in self._tables:
            with self._engine(INDEX_SHARD_NAME).connect() as connection:
                self._tables = frozenset(sa.inspect(connection).get_table_names())
        return table_name in self._tables

    def _close(self, but: str | None = None) -> None:
        for shard in [shard for shard in self._engines if shard != but]:
            self._engines.pop(shard).dispose()

    def dispose(self) -> None:
        self._close()
        super().dispose()
