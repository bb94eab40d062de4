"""Tens of thousands of rows in one statement, in the shortest way each database has.

SQLAlchemy's own `IN` and executemany cost several times what the database does (100,000 subjects: 10 s
instead of 2), so these two go to the driver. Columns may hold bytes and integers only.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

from sqlalchemy import Column, Connection, Table

CHUNK = 20_000
"""Rows per statement and transaction; SQLite takes at most 32,766 parameters."""


def select_in(
    connection: Connection, columns: Sequence[Column[Any]], key: Column[Any], values: list[bytes]
) -> list[Any]:
    """The `columns` of all rows whose `key` is one of at most `CHUNK` values; rows are tuple-like."""
    names = ", ".join(column.name for column in columns)
    query = f"SELECT {names} FROM {key.table.name} WHERE {key.name}"
    if connection.dialect.name != "postgresql":
        marks = ",".join("?" * len(values))
        return list(connection.exec_driver_sql(f"{query} IN ({marks})", tuple(values)).all())
    rows = connection.exec_driver_sql(f"{query} = ANY(%s::bytea[])", (values,))
    return [[bytes(item) if isinstance(item, memoryview) else item for item in row] for row in rows]


def insert_new_rows(connection: Connection, table: Table, rows: list[tuple[Any, ...]]) -> bool:
    """INSERT … ON CONFLICT DO NOTHING of full rows, in the table's column order; whether all were new."""
    names = ", ".join(column.name for column in table.columns)
    if connection.dialect.name != "postgresql":
        marks = ",".join("?" * len(table.columns))
        statement = f"INSERT INTO {table.name} ({names}) VALUES ({marks}) ON CONFLICT DO NOTHING"
        return connection.exec_driver_sql(statement, rows).rowcount == len(rows)
    types = [column.type.compile(connection.dialect) for column in table.columns]
    arrays = ", ".join(f"%s::{sql_type}[]" for sql_type in types)
    statement = f"INSERT INTO {table.name} ({names}) SELECT * FROM unnest({arrays}) ON CONFLICT DO NOTHING"
    columns = tuple(list(column) for column in zip(*rows, strict=True))
    return connection.exec_driver_sql(statement, columns).rowcount == len(rows)


def chunks(items: Iterable[bytes]) -> Iterator[list[bytes]]:
    """`items` in lists of at most `CHUNK`."""
    remaining = iter(items)
    while chunk := list(islice(remaining, CHUNK)):
        yield chunk
