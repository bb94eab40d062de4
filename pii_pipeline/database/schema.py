"""The tables' versions: one migration after the other, done by whoever opens a database that is behind.

Migrations are numbered (``migrations/versions/0001_first_schema.py``) and go forward only: the way back is a
backup. All that a database lacks are one transaction, on SQLite too. What has a database of its own, or may
have one, has a line of migrations of its own (`Schema`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from sqlalchemy import Engine, column, inspect, select, table
from sqlalchemy.exc import OperationalError, ProgrammingError

from pii_pipeline.database.errors import SETTING, SchemaError
from pii_pipeline.database.transactions import again_if_lost, reading

_ALEMBIC = Path(__file__).with_name("migrations")
_UPGRADE_LOCK = 0x70_69_69_5F  # "pii_", PostgreSQL's advisory lock while tables are made
_INSUFFICIENT_PRIVILEGE = "42501"


@dataclass(frozen=True)
class Schema:
    """One line of migrations: the folder they are in, the table with the number of the last one done, and the
    setting that says where the database is."""

    migrations: Path
    version_table: str
    setting: str


LEDGER_AND_KEYS = Schema(_ALEMBIC / "versions", "pii_schema_version", SETTING)
"""The version table has not Alembic's own name for it: Dagster's tables use that, perhaps in the same
database."""


@dataclass(frozen=True)
class Migration:
    """One of them: its `number` as text ("0001") and what it does, in a word or two."""

    number: str
    name: str


@cache
def migrations(schema: Schema = LEDGER_AND_KEYS) -> tuple[Migration, ...]:
    """Those that this release knows, oldest first."""
    parts = [file.stem.partition("_") for file in sorted(schema.migrations.glob("[0-9]*.py"))]
    return tuple(Migration(number, name.replace("_", " ")) for number, _, name in parts)


def version(engine: Engine, schema: Schema = LEDGER_AND_KEYS) -> str | None:
    """The number of the newest migration that was done; None in a database that knows of none."""
    query = select(column("version_num")).select_from(table(schema.version_table))
    try:
        with reading(engine) as connection:
            return connection.scalar(query)
    except (OperationalError, ProgrammingError):  # as a rule: there is no such table
        with reading(engine) as connection:
            if inspect(connection).has_table(schema.version_table):
                return connection.scalar(query)  # somebody has made it meanwhile; or it fails once more
    return None


def pending(engine: Engine, schema: Schema = LEDGER_AND_KEYS) -> tuple[Migration, ...]:
    """The migrations that are still to be done. Raises `SchemaError` for a database of a later release."""
    done = version(engine, schema)
    known = migrations(schema)
    if done is None:
        return known
    numbers = [migration.number for migration in known]
    if done not in numbers:
        raise SchemaError(
            f"{schema.setting}: its tables are of a later release (version {done}, this one knows "
            f"{numbers[-1]}) — use that release, or a database of its own"
        )
    return known[numbers.index(done) + 1 :]


@again_if_lost
def upgrade(engine: Engine, schema: Schema = LEDGER_AND_KEYS) -> tuple[Migration, ...]:
    """Does the migrations that are to be done, and returns them; where there are none, it is one small query.

    Any number of processes may call it at once. Tables of a time before there were migrations are taken over
    as they are. Raises `SchemaError`.
    """
    missing = pending(engine, schema)
    if missing:
        from alembic import command  # takes time to import, and is needed once in a database's life
        from alembic.config import Config

        with engine.begin() as connection:
            if engine.dialect.name == "postgresql":
                connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_UPGRADE_LOCK})")
            config = Config(attributes={"connection": connection, "version_table": schema.version_table})
            config.set_main_option("script_location", str(_ALEMBIC).replace("%", "%%"))
            config.set_main_option("path_separator", "newline")  # neither a space nor a colon divides a path
            config.set_main_option("version_locations", str(schema.migrations).replace("%", "%%"))
            with _denial_explained(schema, missing[-1]):
                command.upgrade(config, "head")
    return missing


@contextmanager
def _denial_explained(schema: Schema, newest: Migration) -> Iterator[None]:
    try:
        yield
    except ProgrammingError as error:
        if getattr(error.orig, "pgcode", None) != _INSUFFICIENT_PRIVILEGE:
            raise
        raise SchemaError(
            f"{schema.setting}: its tables have to be brought to version {newest.number}, which its user may "
            "not — run `pii db upgrade` as a user who may"
        ) from None
