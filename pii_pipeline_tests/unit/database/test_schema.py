"""The tables come from migrations: whatever there was before, and however many do them at once."""

from __future__ import annotations

import multiprocessing
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.script import ScriptDirectory
from sqlalchemy import event

from pii_pipeline.database import DatabaseError, SchemaError, connect, upgrade
from pii_pipeline.database.schema import LEDGER_AND_KEYS, Schema, migrations, pending, version
from pii_pipeline.keys import tables as keys
from pii_pipeline.ledger import Ledger, tables
from pii_pipeline.vault.stores import tables as vault
from pii_pipeline.vault.stores.tables import VAULT_SCHEMA

SCHEMAS = {LEDGER_AND_KEYS: (tables.metadata, keys.metadata), VAULT_SCHEMA: (vault.metadata,)}
"""What the code declares of each line of migrations."""
VERSION_TABLE = LEDGER_AND_KEYS.version_table
BEFORE = Path(__file__).parent
"""``before_migrations.*.sql``: what the release before migrations made, written down by it."""


@pytest.fixture
def engine(database_url: str) -> Iterator[sa.Engine]:
    engine = connect(database_url)
    yield engine
    engine.dispose()


@pytest.fixture(params=SCHEMAS, ids=lambda schema: schema.setting)
def schema(request: pytest.FixtureRequest) -> Schema:
    return request.param


def run_sql(engine: sa.Engine, sql: str) -> None:
    with engine.begin() as connection:
        for statement in filter(None, map(str.strip, sql.split(";\n"))):
            connection.exec_driver_sql(statement)


def made_before_migrations(engine: sa.Engine) -> None:
    run_sql(engine, (BEFORE / f"before_migrations.{engine.dialect.name}.sql").read_text())


def where(index: Any) -> list[str]:
    """The condition of a partial index."""
    return [str(value) for name, value in index.get("dialect_options", {}).items() if name.endswith("_where")]


def described(engine: sa.Engine) -> dict[str, dict[str, Any]]:
    """All that the database says of its tables, but for those of the migrations."""
    found = sa.inspect(engine)
    comments = engine.dialect.supports_comments
    return {
        name: {
            "columns": [
                (item["name"], repr(item["type"]), item["nullable"], item["default"])
                for item in found.get_columns(name)
            ],
            "primary key": found.get_pk_constraint(name)["constrained_columns"],
            "foreign keys": sorted(
                (item["constrained_columns"], item["referred_table"], item["referred_columns"])
                for item in found.get_foreign_keys(name)
            ),
            "unique": sorted(item["column_names"] for item in found.get_unique_constraints(name)),
            "indexes": sorted(
                (str(item["name"]), item["column_names"], where(item)) for item in found.get_indexes(name)
            ),
            "comment": found.get_table_comment(name)["text"] if comments else None,
        }
        for name in found.get_table_names()
        if name not in {schema.version_table for schema in SCHEMAS}
    }


def declared(engine: sa.Engine, schema: Schema = LEDGER_AND_KEYS) -> dict[str, dict[str, Any]]:
    """The same of the tables as the code declares them, made in the same database and dropped again."""
    for metadata in SCHEMAS[schema]:
        metadata.create_all(engine)
    try:
        return described(engine)
    finally:
        for metadata in SCHEMAS[schema]:
            metadata.drop_all(engine)


def test_the_migrations_make_what_the_code_declares(engine: sa.Engine, schema: Schema) -> None:
    wanted = declared(engine, schema)
    assert len(wanted) == {LEDGER_AND_KEYS: 20, VAULT_SCHEMA: 5}[schema]
    assert described(engine) == {}
    upgrade(engine, schema)
    assert described(engine) == wanted


def test_both_lines_of_migrations_have_room_in_one_database(engine: sa.Engine) -> None:
    wanted = declared(engine) | declared(engine, VAULT_SCHEMA)
    assert upgrade(engine, VAULT_SCHEMA) == migrations(VAULT_SCHEMA)
    assert version(engine) is None
    assert upgrade(engine) == migrations()
    assert described(engine) == wanted
    assert (pending(engine), pending(engine, VAULT_SCHEMA)) == ((), ())


def test_migrations_are_found_in_a_folder_of_any_name(database_url: str, tmp_path: Path) -> None:
    folder = tmp_path / "a b:c, 100%"
    shutil.copytree(VAULT_SCHEMA.migrations, folder)
    engine = connect(database_url)
    upgrade(engine, replace(VAULT_SCHEMA, migrations=folder))
    assert pending(engine, VAULT_SCHEMA) == ()
    engine.dispose()


def test_a_database_of_before_there_were_migrations_becomes_the_same_and_keeps_its_rows(
    engine: sa.Engine,
) -> None:
    wanted = declared(engine)
    made_before_migrations(engine)
    moment = "'2026-11-22 10:00:00+00:00'" if engine.dialect.name == "postgresql" else "'2026-11-22 10:00:00'"
    run_sql(
        engine,
        f"""
        INSERT INTO ledger_batches VALUES ('logins-1', 'logins', '2026-11-22T10', 1, 10, {moment});
        INSERT INTO ledger_objects
            VALUES ('logins', 'a', 'tag', '2026-11-22T10', 10, {moment}, {moment}, 'logins-1', 0);
        INSERT INTO ledger_leases VALUES ('logins', '2026-11-22T10', 'somebody', 'token', {moment});
        INSERT INTO pseudonym_secret VALUES (1, 'wrapped', 'check', {moment})
        """,
    )
    assert (version(engine), pending(engine)) == (None, migrations())
    upgrade(engine)
    assert described(engine) == wanted
    (hour,) = Ledger(engine).status()
    assert (hour.stream, hour.objects, hour.bytes) == ("logins", 1, 10)
    with engine.connect() as connection:
        assert connection.scalar(sa.select(keys.pseudonym_secret.c.version)) == 1


def test_tables_that_an_earlier_release_had_not_are_made(engine: sa.Engine) -> None:
    wanted = declared(engine)
    made_before_migrations(engine)
    run_sql(engine, "DROP TABLE ledger_contracts;\nDROP TABLE loss;\nDROP TABLE ledger_files")
    upgrade(engine)
    assert described(engine) == wanted


def test_somebody_elses_table_of_that_name_is_refused_and_left_as_it_is(engine: sa.Engine) -> None:
    run_sql(engine, "CREATE TABLE subject (id INTEGER PRIMARY KEY, email VARCHAR)")
    with pytest.raises(SchemaError, match=r"PII_DATABASE_URL: it has a table subject .* of their own"):
        upgrade(engine)
    assert list(described(engine)) == ["subject"], "all of it is one transaction, on SQLite too"
    assert version(engine) is None


def test_a_vault_table_of_somebody_else_is_refused(engine: sa.Engine) -> None:
    run_sql(engine, "CREATE TABLE vault_records (email VARCHAR)")
    with pytest.raises(SchemaError, match=r"PII_VAULT_URL: it has a table vault_records, .* of its own"):
        upgrade(engine, VAULT_SCHEMA)
    assert list(described(engine)) == ["vault_records"]
    assert version(engine, VAULT_SCHEMA) is None


def test_a_database_of_a_later_release_is_refused(engine: sa.Engine, schema: Schema) -> None:
    upgrade(engine, schema)
    newest = migrations(schema)[-1].number
    assert version(engine, schema) == newest
    run_sql(engine, f"UPDATE {schema.version_table} SET version_num = '9999'")
    with pytest.raises(SchemaError) as refused:
        upgrade(engine, schema)
    assert str(refused.value) == (
        f"{schema.setting}: its tables are of a later release (version 9999, this one knows {newest}) — "
        "use that release, or a database of its own"
    )
    assert isinstance(refused.value, DatabaseError)


def test_a_user_who_may_not_change_tables_is_told_who_has_to(postgres_database_url: str) -> None:
    owner = connect(postgres_database_url)
    user = f"user_{secrets.token_hex(6)}"
    run_sql(owner, f"CREATE ROLE {user} LOGIN")
    engine = connect(
        sa.make_url(postgres_database_url).set(username=user).render_as_string(hide_password=False)
    )
    try:
        with pytest.raises(
            SchemaError, match="which its user may not — run `pii db upgrade` as a user who may"
        ):
            upgrade(engine)
        upgrade(owner)
        run_sql(owner, f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {user}")
        assert upgrade(engine) == ()
        assert Ledger(engine).status() == []
    finally:
        engine.dispose()
        run_sql(owner, f"DROP OWNED BY {user};\nDROP ROLE {user}")
        owner.dispose()


def test_an_up_to_date_database_costs_one_query(engine: sa.Engine) -> None:
    assert upgrade(engine) == migrations()
    asked: list[str] = []

    @event.listens_for(engine, "before_cursor_execute")
    def remember(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        asked.append(statement)

    assert upgrade(engine) == ()
    assert [statement for statement in asked if not statement.startswith("BEGIN")] == [
        f"SELECT version_num \nFROM {VERSION_TABLE}"
    ]


LOADED = """
import sys
from pii_pipeline.database import connect, upgrade
upgrade(connect(sys.argv[1]))
print("alembic" in sys.modules)
"""


def test_alembic_is_imported_only_when_there_is_something_to_do(database_url: str) -> None:
    told = [
        subprocess.run(
            [sys.executable, "-c", LOADED, database_url], capture_output=True, text=True, check=True
        ).stdout
        for _ in range(2)
    ]
    assert told == ["True\n", "False\n"]


def test_numbers_of_the_files_are_alembics_revisions_one_after_the_other(schema: Schema) -> None:
    folder = str(schema.migrations)
    known = ScriptDirectory(folder, version_locations=[folder]).walk_revisions("base", "heads")
    revisions = [(script.revision, script.down_revision) for script in known][::-1]
    numbers = [migration.number for migration in migrations(schema)]
    assert revisions == list(zip(numbers, [None, *numbers[:-1]], strict=True))


def test_tables_that_somebody_makes_while_it_is_asked(
    engine: sa.Engine, database_url: str, schema: Schema
) -> None:
    @event.listens_for(engine, "handle_error")
    def somebody_is_faster(_context: Any) -> None:
        other = connect(database_url)
        upgrade(other, schema)
        other.dispose()

    assert version(engine, schema) == migrations(schema)[-1].number


def _upgrade(url: str) -> tuple[str | None, str | None]:
    engine = connect(url)
    upgrade(engine)
    upgrade(engine, VAULT_SCHEMA)
    return version(engine), version(engine, VAULT_SCHEMA)


@pytest.mark.parametrize("before", ["nothing", "tables without migrations"])
def test_many_upgrade_at_once(database_url: str, engine: sa.Engine, before: str) -> None:
    if before != "nothing":
        made_before_migrations(engine)
    newest = migrations()[-1].number, migrations(VAULT_SCHEMA)[-1].number
    with ProcessPoolExecutor(4, mp_context=multiprocessing.get_context("spawn")) as processes:
        assert set(processes.map(_upgrade, [database_url] * 8)) == {newest}
    made = described(engine)
    for schema, declarations in SCHEMAS.items():
        run_sql(engine, f"DROP TABLE {schema.version_table}")
        for metadata in declarations:
            metadata.drop_all(engine)
    assert made == declared(engine) | declared(engine, VAULT_SCHEMA)
