"""A PostgreSQL server, through ADBC: Arrow goes into COPY as it is, in binary."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import adbc_driver_postgresql.dbapi as adbc
import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy.engine import make_url

from pii_pipeline.database import unknown_option, why_no_connection
from pii_pipeline.warehouse.backend import PATIENCE
from pii_pipeline.warehouse.errors import SETTING, WarehouseError, WarehouseUnavailable
from pii_pipeline.warehouse.names import quoted
from pii_pipeline.warehouse.table import BATCH, JSON, Table

_LOCK = 0x70_69_69_77  # "piiw", the advisory lock of whoever writes
_CONNECT_SECONDS = 10
_JSONB_VERSION = "\x01"  # what begins a jsonb value on the wire

_REFUSALS = {
    "42501": ("the user may not do that", "grant it CREATE on the schema, and the tables that are there"),
    "2BP01": ("a view depends on a column that changes", "drop it, and make it again afterwards"),
    "42P07": ("there is a table of that name that is not ours", "rename one of the two"),
    "53100": ("its disk is full", "make room"),
    "3F000": ("there is no schema to make tables in", "mend the user's search_path"),
}
_LOCKED = "55P03"
_CONNECTION_LOST = ("08", "57P")
"""How the codes begin that say so."""


class PostgresServer:
    """Implements `Backend`. Tables are made in the first schema of the user's search path."""

    kind: Literal["postgres"] = "postgres"

    def __init__(self, url: str) -> None:
        parsed = make_url(url)
        self.place = parsed.set(query={}).render_as_string(hide_password=True)
        if "connect_timeout" not in parsed.query:
            parsed = parsed.update_query_dict({"connect_timeout": str(_CONNECT_SECONDS)})
        self._options = list(parsed.query)
        self._url = parsed.render_as_string(hide_password=False)

    @contextmanager
    def transaction(self) -> Iterator[PostgresTransaction]:
        with self._connected() as connection, connection.cursor() as cursor:
            transaction = PostgresTransaction(cursor)
            transaction.execute(f"SET LOCAL lock_timeout = '{PATIENCE}s'")
            transaction.execute(f"SELECT pg_advisory_xact_lock({_LOCK})")
            yield transaction
            connection.commit()

    def identity(self, tables: Sequence[str]) -> str:
        with self._connected() as connection, connection.cursor() as cursor:
            execute = PostgresTransaction(cursor).execute
            found = [execute("SELECT to_regclass($1)::oid::bigint", quoted(table)) for table in tables]
        return str(found)

    def column_type(self, type: str) -> str:
        return "jsonb" if type == JSON else type

    def indexes(self, table: str) -> list[str]:
        return [f"CREATE INDEX ON {quoted(table)} ({quoted(BATCH)})"]

    @contextmanager
    def _connected(self) -> Iterator[adbc.Connection]:
        """A connection; whatever is not committed when the block ends is undone."""
        try:
            with adbc.connect(self._url) as connection:
                yield connection
        except adbc.Error as error:
            raise self._explained(error) from None

    def _explained(self, error: adbc.Error) -> WarehouseError:
        """What went wrong, without the driver's text: that may quote values and what is in the URL."""
        code = error.sqlstate
        where = f"{SETTING}: {self.place}"
        lost = isinstance(error, adbc.OperationalError) if code is None else code.startswith(_CONNECTION_LOST)
        if option := unknown_option(str(error), self._options):
            return WarehouseError(
                f"{where}: PostgreSQL's client knows no option {option} — mend it, or leave it out"
            )
        if lost:
            reason = why_no_connection(str(error))
            problem = f"no connection, {reason}" if reason else "no connection"
            return WarehouseUnavailable(f"{where}: {problem} — start the database, or mend the URL")
        if code == _LOCKED:
            problem = f"others have held the warehouse, or the table, for {PATIENCE} s"
            return WarehouseUnavailable(f"{where}: {problem} — run again after them")
        unknown = f"PostgreSQL error {code}" if code else f"its driver fails with {type(error).__name__}"
        problem, mend = _REFUSALS.get(code or "", (unknown, "look into the server's log"))
        return WarehouseError(f"{where}: {problem} — {mend}")


class PostgresTransaction:
    """Implements `Transaction`."""

    def __init__(self, cursor: adbc.Cursor) -> None:
        self._cursor = cursor

    def execute(self, sql: str, *values: str | int) -> list[tuple[Any, ...]]:
        self._cursor.execute(sql, values or None)
        return self._cursor.fetchall() if self._cursor.description else []

    def append(self, table: Table, rows: pa.RecordBatch) -> None:
        for column in table.columns:
            if column.type == JSON:
                place = rows.schema.get_field_index(column.name)
                texts = pc.binary_join_element_wise(_JSONB_VERSION, rows.column(place), "")
                rows = rows.set_column(place, column.name, texts)
        self._cursor.adbc_ingest(table.name, rows, mode="append")
