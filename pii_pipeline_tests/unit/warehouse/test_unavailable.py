"""A warehouse that is not there, or not free: what is said, how soon, and that no secret is in it."""

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import psycopg2
import pytest

from pii_pipeline.warehouse import duckdb_file, postgresql
from pii_pipeline.warehouse.errors import WarehouseError, WarehouseUnavailable
from pii_pipeline.warehouse.table import Column, Table
from pii_pipeline.warehouse.warehouse import warehouse_at
from pii_pipeline_tests.warehouses import ask

TABLE = Table("people", "pseudonymized_events", (Column("name", "text", ("name",)),))


def said(url: str, table: Table = TABLE) -> str:
    """What is said when the table is opened."""
    with pytest.raises(WarehouseError) as caught, warehouse_at(url).open(table) as opened:
        opened.define()
    assert caught.value.__context__ is None or caught.value.__suppress_context__
    return str(caught.value)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("postgresql://ann:s3cret@127.0.0.1:1/shop", "no connection, nobody listens there"),
        ("postgresql://ann:s3cret@no.such.host.invalid/shop", "no connection, there is no such host"),
        ("postgresql://ann@127.0.0.1:1/shop?password=s3cret", "no connection, nobody listens there"),
    ],
)
def test_no_server(url: str, reason: str) -> None:
    message = said(url)
    assert message.startswith("PII_WAREHOUSE_URL: postgresql://ann") and reason in message
    assert "start the database, or mend the URL" in message
    assert "s3cret" not in message + warehouse_at(url).place + repr(warehouse_at(url))


def test_an_option_that_libpq_does_not_know_is_named_and_its_value_is_not() -> None:
    message = said("postgresql://ann@127.0.0.1:1/shop?sslmod=s3cret")
    assert message == (
        "PII_WAREHOUSE_URL: postgresql://ann@127.0.0.1:1/shop: PostgreSQL's client knows no option sslmod — "
        "mend it, or leave it out"
    )


def test_no_such_database(postgres_url: str) -> None:
    url = postgres_url.replace("+psycopg2", "").replace("/postgres?", "/nowhere?")
    assert "there is no such database or user" in said(url)


def test_no_schema(postgres_url: str) -> None:
    url = postgres_url.replace("+psycopg2", "") + "&options=-csearch_path%3Dnowhere"
    assert "there is no schema to make tables in" in said(url)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "warehouse" / "tables.duckdb"


def test_a_user_who_may_not(postgres_schema_url: str) -> None:
    ((schema,),) = ask(postgres_schema_url, "SELECT current_schema()")
    user = f"reader_{schema}"
    ask(postgres_schema_url, f"CREATE ROLE {user} LOGIN; GRANT USAGE ON SCHEMA {schema} TO {user}")
    try:
        assert "the user may not do that — grant it CREATE" in said(
            postgres_schema_url.replace("postgres:@", f"{user}:@")
        )
    finally:
        ask(postgres_schema_url, f"DROP OWNED BY {user}; DROP ROLE {user}")


def test_a_view_on_a_column_that_changes(postgres_schema_url: str) -> None:
    with warehouse_at(postgres_schema_url).open(TABLE) as opened:
        opened.define()
    ask(postgres_schema_url, "CREATE VIEW called AS SELECT name FROM people")
    other = Table("people", "pseudonymized_events", (Column("name", "bigint", ("name",)),))
    assert "a view depends on a column that changes — drop it" in said(postgres_schema_url, other)
    assert ask(postgres_schema_url, "SELECT count(*) FROM called") == [(0,)]


def test_what_others_were_granted_stays_when_the_table_changes(postgres_schema_url: str) -> None:
    ((schema,),) = ask(postgres_schema_url, "SELECT current_schema()")
    with warehouse_at(postgres_schema_url).open(TABLE) as opened:
        opened.define()
    user = f"analyst_{schema}"
    ask(postgres_schema_url, f"CREATE ROLE {user}; GRANT SELECT ON people TO {user}")
    try:
        other = Table("people", "pseudonymized_events", (Column("name", "bigint", ("name",)),))
        with warehouse_at(postgres_schema_url).open(other) as opened:
            opened.define()
        assert ask(postgres_schema_url, f"SELECT has_table_privilege('{user}', 'people', 'SELECT')") == [
            (True,)
        ]
        assert ask(postgres_schema_url, f"SELECT has_table_privilege('{user}', '_pii_tables', 'SELECT')") == [
            (False,)
        ]
    finally:
        ask(postgres_schema_url, f"DROP OWNED BY {user}; DROP ROLE {user}")


def test_who_holds_the_table_is_not_waited_for_for_ever(
    postgres_schema_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgresql, "PATIENCE", 1)
    with warehouse_at(postgres_schema_url).open(TABLE) as opened:
        opened.define()
    other = Table("people", "pseudonymized_events", (Column("name", "bigint", ("name",)),))
    with psycopg2.connect(postgres_schema_url) as analyst, analyst.cursor() as cursor:
        cursor.execute("SELECT * FROM people")
        assert "others have held the warehouse, or the table, for 1 s — run again" in said(
            postgres_schema_url, other
        )
    analyst.close()


def test_a_connection_that_is_lost(postgres_schema_url: str) -> None:
    with (
        pytest.raises(WarehouseUnavailable) as caught,
        warehouse_at(postgres_schema_url).open(TABLE) as opened,
    ):
        opened.define()
        others = "pid <> pg_backend_pid() AND query LIKE '%_pii_tables%'"
        ask(postgres_schema_url, f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {others}")
        opened.batches()
    assert "no connection — start the database, or mend the URL" in str(caught.value)


def test_a_file_that_another_process_has_open(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duckdb_file, "PATIENCE", 1)
    url = f"duckdb:///{file}"
    with warehouse_at(url).open(TABLE) as opened:
        opened.define()
    opening = f"import duckdb; c = duckdb.connect({str(file)!r}, read_only=True)"
    program = f"{opening}; print('open', flush=True); input()"
    reader = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert reader.stdout is not None and reader.stdout.readline() == "open\n"
        message = said(url)
        assert f"{file}: another process has had the file open for 1 s — close it there" in message
    finally:
        reader.communicate("\n")
    with warehouse_at(url).open(TABLE) as opened:
        assert opened.define() == []


def test_who_lets_go_of_the_file_in_time_is_waited_for(file: Path) -> None:
    url = f"duckdb:///{file}"
    with warehouse_at(url).open(TABLE) as opened:
        opened.define()
    program = (
        f"import duckdb, time; c = duckdb.connect({str(file)!r}); print('open', flush=True); time.sleep(1)"
    )
    reader = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert reader.stdout is not None and reader.stdout.readline() == "open\n"
    with warehouse_at(url).open(TABLE) as opened:
        assert opened.define() == []
    reader.communicate()


@pytest.mark.parametrize("content", [b"", b"nothing of the kind " * 1000])
def test_a_file_that_is_no_database(file: Path, content: bytes) -> None:
    file.parent.mkdir()
    file.write_bytes(content)
    assert f"{file}: is no DuckDB database — name another file" in said(f"duckdb:///{file}")
    assert file.read_bytes() == content


def test_a_place_where_no_file_can_be(file: Path) -> None:
    file.mkdir(parents=True)
    assert f"{file}: the file cannot be opened — mend what" in said(f"duckdb:///{file}")
    (file / "taken").write_text("")
    assert "File exists — name a file that can be written" in said(f"duckdb:///{file / 'taken' / 'x.duckdb'}")


def test_the_file_is_private_whatever_the_umask(file: Path) -> None:
    before = os.umask(0)
    try:
        with warehouse_at(f"duckdb:///{file}").open(TABLE) as opened:
            opened.define()
            modes = {path.name: path.stat().st_mode & 0o777 for path in file.parent.iterdir()}
    finally:
        assert os.umask(before) == 0
    assert modes[file.name] == 0o600 and set(modes.values()) == {0o600}
    assert file.parent.stat().st_mode & 0o777 == 0o700


def test_a_run_that_is_killed_in_the_middle_leaves_what_was_there(warehouse_url: str) -> None:
    program = textwrap.dedent(
        f"""
        import os, signal, pyarrow as pa
        from pii_pipeline.warehouse.table import Column, Table
        from pii_pipeline.warehouse.warehouse import warehouse_at
        table = Table("people", "pseudonymized_events", (Column("name", "text", ("name",)),))
        rows = pa.record_batch([pa.array(["ann"])], ["name"])
        def parts():
            yield pa.record_batch([pa.array(["bob"] * 100_000)], ["name"])
            os.kill(os.getpid(), signal.SIGKILL)
        with warehouse_at({warehouse_url!r}).open(table) as opened:
            opened.define()
            opened.replace("b-1", "f1", 1, [rows])
        with warehouse_at({warehouse_url!r}).open(table) as opened:
            opened.replace("b-1", "f2", 100_000, parts())
        """
    )
    done = subprocess.run([sys.executable, "-c", program], check=False)
    assert done.returncode == -signal.SIGKILL
    assert ask(warehouse_url, "SELECT name FROM people") == [("ann",)]
    with warehouse_at(warehouse_url).open(TABLE) as opened:
        assert (opened.define(), opened.batches()) == ([], {"b-1": "f1"})
